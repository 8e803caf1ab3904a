"""The training process, seen from outside: started with a clean environment, given orders on its standard input, killed
with all its children.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from splitrail_common import log

from splitrail_pod.exchange.environment import scrubbed
from splitrail_pod.exchange.messages import MessageError, Order, Progress, decode_progress
from splitrail_pod.supervisor import host

_log = log.get(__name__)
_TAIL_BYTES = 8192
_LINE_BYTES = 64 * 1024
OnProgress = Callable[[Progress], None]


class TrainingProcess:
    """One run of `python -m splitrail_pod.training`. It also ends by itself when the supervisor dies: by parent-death
    signal, and at the end of its standard input.
    """

    def __init__(self, process: asyncio.subprocess.Process, on_progress: OnProgress) -> None:
        self._process = process
        self._stderr = b""
        self._kills_before = host.out_of_memory_kills()
        self.killed = False
        """The supervisor killed it."""
        self._readers = [
            asyncio.create_task(self._read_progress(on_progress)),
            asyncio.create_task(self._read_errors()),
        ]

    @classmethod
    async def start(cls, specification: Path, cache_directory: Path, on_progress: OnProgress) -> "TrainingProcess":
        """Starts it in a session of its own, without our environment's secrets and without the current directory on its
        path.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "splitrail_pod.training",
            str(specification),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=specification.parent,
            env=scrubbed(os.environ, cache_directory),
            start_new_session=True,
            limit=_LINE_BYTES,
        )
        _log.info("training process started", child=process.pid)
        return cls(process, on_progress)

    @property
    def ended(self) -> bool:
        """It has exited: what it wrote to its spool is complete."""
        return self._process.returncode is not None

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its process group."""
        return self._process.pid

    @property
    def last_lines(self) -> str:
        """The end of its standard error."""
        return self._stderr.decode("utf-8", "replace")

    async def wait(self) -> int:
        """Its exit status (negative: the signal that ended it), once it has ended and its pipes are read."""
        status = await self._process.wait()
        with contextlib.suppress(ProcessLookupError):  # nothing of its group is left
            os.killpg(self._process.pid, signal.SIGKILL)  # what it started may still hold the pipes
        await asyncio.gather(*self._readers)
        return status

    def order(self, order: Order) -> None:
        """Sends an order; does nothing when the process has ended."""
        stdin = self._process.stdin
        if stdin is not None and self._process.returncode is None:
            stdin.write(order.encode() + b"\n")

    def kill(self) -> None:
        """Kills it and its children."""
        if self._process.returncode is None:
            self.killed = True
            with contextlib.suppress(ProcessLookupError):  # it ended just now, and asyncio does not know yet
                os.killpg(self._process.pid, signal.SIGKILL)

    def likely_out_of_memory(self) -> bool:
        """The kernel's out-of-memory killer has acted since it started: if it died of signal 9, that is the probable
        reason.
        """
        now = host.out_of_memory_kills()
        return now is not None and self._kills_before is not None and now > self._kills_before

    async def _read_progress(self, on_progress: OnProgress) -> None:
        stdout = self._process.stdout
        assert stdout is not None, "started with a pipe"
        while line := await stdout.readline():
            try:
                progress = decode_progress(line)
            except MessageError as error:
                _log.warning(
                    "the training process printed something that is not progress",
                    error=str(error),
                    line=line[:200].decode("utf-8", "replace"),
                )
                continue
            on_progress(progress)

    async def _read_errors(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None, "started with a pipe"
        while chunk := await stderr.read(_TAIL_BYTES):
            self._stderr = (self._stderr + chunk)[-_TAIL_BYTES:]
