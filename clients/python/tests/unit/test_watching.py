"""A watch survives what breaks it: every event once, in order, and an end."""

import asyncio
from contextlib import aclosing

import grpc
import pytest
from splitrail.events.v1 import event_pb2
from splitrail.metrics.v1 import metrics_service_pb2
from splitrail_client.errors import RefusedError, SplitrailError, UnreachableError
from splitrail_client.watching import RetryPolicy, watch_run

QUICK = RetryPolicy(give_up=20, silence=5, first_pause=0.01, longest_pause=0.05)


async def watched(peer, policy=QUICK, **options):
    async with aclosing(watch_run(peer.channel, "run-1", policy=policy, **options)) as messages:
        return [message async for message in messages]


def sequence(messages):
    return [message.event.seq for message in messages if message.HasField("event")]


@pytest.fixture
def feed(peer, make_epoch, make_state):
    peer.feed.events = [
        *(make_epoch(number, number, 8) for number in range(1, 9)),
        make_state(9, event_pb2.JOB_STATE_SUCCEEDED),
    ]
    return peer.feed


async def test_events_come_in_order_to_the_end_with_the_token(peer, feed):
    messages = await watched(peer)
    assert sequence(messages) == list(range(1, 10))
    assert messages[-1].closed.reason == metrics_service_pb2.CLOSED_REASON_ENDED
    assert feed.metadata[0]["authorization"] == "Bearer secret"
    assert feed.cursors == [0]


async def test_a_cut_connection_is_opened_again_from_the_cursor(peer, feed):
    interruptions = []
    feed.before = lambda seq, opening, context: peer.relay.cut() if seq in (3, 6) and opening == seq // 3 else None
    messages = await watched(peer, on_interruption=lambda error, seconds: interruptions.append((error, seconds)))
    assert sequence(messages) == list(range(1, 10))
    assert len(feed.cursors) >= 3
    assert all(before <= after for before, after in zip(feed.cursors, feed.cursors[1:], strict=False))
    assert interruptions
    assert all(0 < seconds <= QUICK.longest_pause for _, seconds in interruptions)


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
    ],
)
async def test_a_passing_status_is_survived(peer, feed, code):
    feed.before = lambda seq, opening, context: context.abort(code, "broken") if seq == 5 and opening == 1 else None
    assert sequence(await watched(peer)) == list(range(1, 10))


async def test_a_draining_service_is_asked_again(peer, feed):
    feed.end = metrics_service_pb2.CLOSED_REASON_DRAINING
    feed.before = lambda seq, opening, context: (
        setattr(feed, "end", metrics_service_pb2.CLOSED_REASON_ENDED) if opening == 2 else None
    )
    first_half, rest = feed.events[:4], feed.events[4:]
    feed.events = first_half

    def grow(error, seconds):
        feed.events = first_half + rest

    assert sequence(await watched(peer, on_interruption=grow)) == list(range(1, 10))
    assert feed.cursors == [0, 4]


async def test_a_restored_platform_is_watched_from_the_first_event_and_it_is_said(peer, feed):
    def restore(seq, opening, context):
        if seq != 5 or opening != 1:
            return None
        feed.incarnation = "second"
        return context.abort(grpc.StatusCode.UNAVAILABLE, "restoring")

    feed.before = restore
    restarts = []
    messages = await watched(peer, on_restart=restarts.append)
    assert sequence(messages) == [1, 2, 3, 4, *range(1, 10)]
    assert {message.incarnation for message in messages[-9:]} == {"second"}
    assert ([error.reason for error in restarts], feed.cursors[-1]) == (["CURSOR_OUT_OF_RANGE"], 0)


async def test_a_stored_position_of_another_incarnation_is_refused(peer, feed):
    with pytest.raises(RefusedError) as refused:
        await watched(peer, after_seq=4, incarnation="before the restore")
    assert refused.value.reason == "CURSOR_OUT_OF_RANGE"
    assert sequence(await watched(peer, after_seq=4, incarnation=feed.incarnation)) == list(range(5, 10))


async def test_a_silent_connection_counts_as_dead(peer, feed):
    feed.before = lambda seq, opening, context: asyncio.sleep(60) if seq == 4 and opening == 1 else None
    messages = await watched(peer, RetryPolicy(give_up=20, silence=0.3, first_pause=0.01, longest_pause=0.05))
    assert sequence(messages) == list(range(1, 10))
    assert feed.cursors == [0, 3]


async def test_a_gap_is_never_shown(peer, feed, make_epoch):
    whole = list(feed.events)
    feed.events = [event for event in whole if event.seq != 4]

    def mend(error, seconds):
        feed.events = whole

    assert sequence(await watched(peer, on_interruption=mend)) == list(range(1, 10))


async def test_an_event_sent_twice_is_shown_once(peer, feed):
    feed.events = [event for event in feed.events for _ in range(2)]
    assert sequence(await watched(peer)) == list(range(1, 10))


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED]
)
async def test_a_refusal_is_raised_at_once(peer, feed, code):
    feed.before = lambda seq, opening, context: context.abort(code, "no")
    with pytest.raises(RefusedError) as caught:
        await watched(peer)
    assert caught.value.code is code
    assert len(feed.cursors) == 1


async def test_it_gives_up_when_nobody_answers_for_long(peer, feed):
    peer.relay.refuse = True
    with pytest.raises(UnreachableError):
        await watched(peer, RetryPolicy(give_up=0.5, silence=1, first_pause=0.01, longest_pause=0.05))


async def test_giving_up_the_iteration_ends_the_call(peer, feed):
    ended = asyncio.Event()
    feed.before = lambda seq, opening, context: context.add_done_callback(lambda _: ended.set())
    async with aclosing(watch_run(peer.channel, "run-1", policy=QUICK)) as messages:
        async for _ in messages:
            break
    await asyncio.wait_for(ended.wait(), 5)


async def test_cancelling_the_watcher_is_not_taken_for_a_broken_connection(peer, feed):
    reached = asyncio.Event()

    async def wait():
        reached.set()
        await asyncio.sleep(60)

    feed.before = lambda seq, opening, context: wait() if seq == 2 else None
    task = asyncio.create_task(watched(peer))
    await asyncio.wait_for(reached.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert len(feed.cursors) == 1


async def test_an_internal_error_with_a_reason_is_the_services_answer():
    from splitrail_client.watching import _passes  # noqa: PLC0415 - the one rule that no in-process server can produce

    assert _passes(SplitrailError("x", code=grpc.StatusCode.INTERNAL))
    assert not _passes(SplitrailError("x", code=grpc.StatusCode.INTERNAL, reason="INTERNAL"))
