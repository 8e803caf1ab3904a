"""Following a stream across broken connections: it is opened again from the cursor, with exponential backoff and
jitter, until it has ended.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import grpc
from splitrail.metrics.v1 import metrics_service_pb2
from splitrail.split.v1 import import_pb2, import_service_pb2

from .channel import Answer, Channel
from .errors import BROKEN_CODES, SplitrailError, UnreachableError

_PASSING_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # read too slowly: the cursor says where to go on
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
    }
)
_CURSOR_REASON = "CURSOR_OUT_OF_RANGE"
_IMPORT_ENDS = (import_pb2.IMPORT_STATE_SUCCEEDED, import_pb2.IMPORT_STATE_FAILED, import_pb2.IMPORT_STATE_CANCELLED)

OnInterruption = Callable[[SplitrailError, float], None]
"""Called with the error and the seconds until the next attempt."""
OnRestart = Callable[[SplitrailError], None]
"""Called with the refusal before the feed starts again from its first event: forget what was read of it."""


@dataclass(frozen=True)
class RetryPolicy:
    """When a watch is opened again, and when it gives up. Seconds."""

    give_up: float = 300.0
    """The error is raised after this long without any message."""
    silence: float = 30.0
    """Services send a message at least every 15 s: after this long without one the connection counts as dead."""
    first_pause: float = 0.2
    longest_pause: float = 10.0


class Interruptions:
    """Counts attempts since the last message and waits between them. Opening a stream again is safe: it only reads."""

    def __init__(self, policy: RetryPolicy, on_interruption: OnInterruption | None) -> None:
        self._policy = policy
        self._report = on_interruption
        self._tries = 0
        self._alive = asyncio.get_running_loop().time()

    def message_came(self) -> None:
        self._tries = 0
        self._alive = asyncio.get_running_loop().time()

    async def pause(self, error: SplitrailError) -> None:
        """Waits before the next attempt; raises `error` when there must be none."""
        if not _passes(error) or asyncio.get_running_loop().time() - self._alive > self._policy.give_up:
            raise error
        longest = min(self._policy.longest_pause, self._policy.first_pause * 2**self._tries)
        seconds = random.uniform(longest / 2, longest)  # noqa: S311 - jitter, not a secret
        self._tries = min(self._tries + 1, 30)
        if self._report is not None:
            self._report(error, seconds)
        await asyncio.sleep(seconds)


def _passes(error: SplitrailError) -> bool:
    """True when opening the stream again may help. INTERNAL with a reason comes from a service, without one from a
    broken connection.
    """
    return error.code is None or error.code in _PASSING_CODES or (error.code in BROKEN_CODES and not error.reason)


async def with_silence_limit(messages: AsyncIterator[Answer], silence: float) -> AsyncGenerator[Answer, None]:
    """The messages of one stream. Raises UnreachableError after `silence` seconds without one."""
    while True:
        try:
            async with asyncio.timeout(silence):
                message = await anext(messages, None)
        except TimeoutError as error:
            raise UnreachableError(f"no message for {silence:.0f} s", code=grpc.StatusCode.DEADLINE_EXCEEDED) from error
        if message is None:
            return
        yield message


async def watch_run(
    channel: Channel,
    run_id: str,
    after_seq: int = 0,
    *,
    incarnation: str = "",
    policy: RetryPolicy | None = None,
    on_interruption: OnInterruption | None = None,
    on_restart: OnRestart | None = None,
) -> AsyncGenerator[metrics_service_pb2.WatchRunResponse, None]:
    """Messages of a run's (or evaluation's) feed after `after_seq`, without heartbeats; the last one is `closed`
    (CLOSED_REASON_ENDED).

    `incarnation`: that of the message whose cursor `after_seq` is. After a restore from a backup the feed has another
    one, and a cursor means nothing any more: then `on_restart` is called and the watch starts again from the first
    event. Without `on_restart`, RefusedError (CURSOR_OUT_OF_RANGE) is raised, since the caller would not know what to
    forget.

    Every event comes exactly once and in order, also across broken connections; batch progress is passed on as it
    arrives. Raises RefusedError (no such run, no permission), or the last connection error after `policy.give_up`
    seconds without a message.
    """
    policy = policy or RetryPolicy()
    interruptions = Interruptions(policy, on_interruption)
    cursor = after_seq
    while True:
        problem: SplitrailError = UnreachableError(
            "the stream ended before the run did", code=grpc.StatusCode.UNAVAILABLE
        )
        request = metrics_service_pb2.WatchRunRequest(run_id=run_id, after_seq=cursor, incarnation=incarnation)
        try:
            async with (
                aclosing(channel.stream(channel.metrics.WatchRun, request)) as stream,
                aclosing(with_silence_limit(stream, policy.silence)) as messages,
            ):
                async for message in messages:
                    kind, incarnation = message.WhichOneof("message"), message.incarnation
                    if kind == "event":
                        if message.event.seq <= cursor:  # received before the connection broke
                            continue
                        if message.event.seq != cursor + 1:
                            problem = UnreachableError(
                                f"event {message.event.seq} came after {cursor}", code=grpc.StatusCode.ABORTED
                            )
                            break
                        cursor = message.event.seq
                    interruptions.message_came()
                    if kind == "closed" and message.closed.reason != metrics_service_pb2.CLOSED_REASON_ENDED:
                        problem = UnreachableError("the service is shutting down", code=grpc.StatusCode.UNAVAILABLE)
                        break
                    if kind != "heartbeat":
                        yield message
                    if kind == "closed":
                        return
        except SplitrailError as error:
            if error.reason == _CURSOR_REASON and (cursor or incarnation) and on_restart is not None:
                cursor, incarnation = 0, ""
                on_restart(error)
                continue
            problem = error
        await interruptions.pause(problem)


async def watch_import(
    channel: Channel,
    import_id: str,
    *,
    policy: RetryPolicy | None = None,
    on_interruption: OnInterruption | None = None,
) -> AsyncGenerator[import_pb2.Import, None]:
    """The import each time it changes, the last time as SUCCEEDED, FAILED or CANCELLED. Errors as of `watch_run`."""
    policy = policy or RetryPolicy()
    interruptions = Interruptions(policy, on_interruption)
    while True:
        problem: SplitrailError = UnreachableError(
            "the stream ended before the import did", code=grpc.StatusCode.UNAVAILABLE
        )
        request = import_service_pb2.WatchImportRequest(import_id=import_id)
        try:
            async with (
                aclosing(channel.stream(channel.imports.WatchImport, request)) as stream,
                aclosing(with_silence_limit(stream, policy.silence)) as messages,
            ):
                async for message in messages:
                    interruptions.message_came()
                    yield message.dataset_import
                    if message.dataset_import.state in _IMPORT_ENDS:
                        return
        except SplitrailError as error:
            problem = error
        await interruptions.pause(problem)
