"""WatchRun: one cursor from replay to live, for whoever may see the run."""

import asyncio
import random
from contextlib import AsyncExitStack, aclosing

import grpc
import nats.errors
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from splitrail.events.v1 import event_pb2 as payloads
from splitrail.metrics.v1 import metrics_service_pb2 as api
from splitrail.metrics.v1 import metrics_service_pb2_grpc
from splitrail_common.database import open_pool
from splitrail_common.messaging import progress_subject
from splitrail_common.peers import channel
from splitrail_common.server import Draining
from splitrail_local.testing import eventually
from splitrail_metrics import convert
from splitrail_metrics.domain import BatchProgress
from splitrail_metrics.history.store import Store
from splitrail_metrics.live.watches import Live
from structlog.testing import capture_logs

pytestmark = pytest.mark.integration


def kinds(responses):
    def kind(item):
        if item.WhichOneof("message") == "event":
            return item.event.WhichOneof("payload")
        return api.ClosedReason.Name(item.closed.reason).removeprefix("CLOSED_REASON_").lower()

    return [kind(item) for item in responses]


async def finish(platform, run_id, pod):
    trainer = platform.sender(run_id, 0)
    await platform.committed(pod)
    trainer.state(payloads.JOB_STATE_SUCCEEDED)
    await trainer.send(*trainer.events)
    await platform.committed(trainer)


async def test_replay_then_live_then_closed(platform, run_id):
    pod = platform.sender(run_id, 1)
    pod.started()
    pod.epoch(1)
    await pod.send(*pod.events)
    await platform.committed(pod)
    watching = asyncio.create_task(platform.watch(run_id))
    late = asyncio.create_task(platform.watch(run_id, after_seq=2))
    pod.epoch(2, **{"metrics/precision(B)": 0.5, "metrics/recall(B)": 0.5, "odd": float("nan")})
    await pod.send(pod.events[-1])
    await finish(platform, run_id, pod)
    found = await watching
    assert kinds(found) == ["attempt_started", "epoch", "epoch", "state", "ended"]
    assert [item.cursor for item in found] == [1, 2, 3, 4, 4]
    assert [item.event.seq for item in found[:-1]] == [1, 2, 3, 4]
    epoch = found[2].event.epoch
    assert (epoch.epoch, epoch.epochs, epoch.attempt, epoch.seq) == (2, 50, 1, 3)
    assert epoch.metrics["f1"] == 0.5
    assert epoch.metrics["train_box_loss"] == epoch.raw["train/box_loss"]
    assert epoch.raw["odd"] != epoch.raw["odd"]
    assert found[2].event.commit_time.seconds
    assert kinds(await late) == ["epoch", "state", "ended"]
    assert kinds(await platform.watch(run_id, after_seq=4)) == ["ended"]


async def test_progress_is_passed_on_when_it_is_sound(platform, run_id):
    pod = platform.sender(run_id, 1)
    pod.started()
    await pod.send(*pod.events)
    await platform.committed(pod)
    call = platform.stub.WatchRun(api.WatchRunRequest(run_id=run_id), metadata=platform.admin, timeout=20)
    sound = payloads.BatchProgress(attempt=1, epoch=1, epochs=3, batch=5, batches=9, losses={"box_loss": 1.0})
    stop = asyncio.Event()

    async def send():
        subject = progress_subject(run_id)
        for data in (b"\xff\xff", b"x" * 100_000):
            await platform.nats.publish(subject, data)
        for wrong in ({"attempt": 2}, {"attempt": -1}, {"losses": {f"l{number}": 1.0 for number in range(65)}}):
            bad = payloads.BatchProgress(**{"attempt": 1, "epoch": 9, **wrong})
            await platform.nats.publish(subject, bad.SerializeToString())
        while not stop.is_set():
            await platform.nats.publish(subject, sound.SerializeToString())
            await asyncio.sleep(0.02)

    sending = asyncio.create_task(send())
    async for response in call:
        if response.WhichOneof("message") == "progress":
            assert response.progress == sound
            assert (response.cursor, bool(response.incarnation)) == (1, True)
            break
    stop.set()
    await sending
    call.cancel()
    assert kinds(await platform.watch(run_id, until=lambda item: item.cursor == 1)) == ["attempt_started"]


@pytest.mark.parametrize("told", [False, True], ids=["before NATS is told", "after"])
async def test_a_first_watcher_that_leaves_while_it_subscribes_takes_nothing_along(platform, run_id, monkeypatch, told):
    """Who joined meanwhile gets the progress, and nothing stays subscribed when that one leaves too."""
    pod = platform.sender(run_id, 1)
    await pod.send(pod.started())
    await platform.committed(pod)
    subject, subscribe = progress_subject(run_id), platform.nats.subscribe
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(*arguments, **options):
        subscription = await subscribe(*arguments, **options) if told else None
        asked.set()
        await go_on.wait()
        return subscription or await subscribe(*arguments, **options)

    monkeypatch.setattr(platform.nats, "subscribe", slowly)
    async with open_pool(platform.database.dsn, size=2, deadline_seconds=20, package="splitrail_metrics") as pool:
        live = Live(Store(pool), platform.nats, Draining(), convert.watched_event, heartbeat_seconds=0.05)
        first = asyncio.create_task(anext(live.watch(run_id, 1)))
        await asked.wait()
        async with asyncio.timeout(20), aclosing(live.watch(run_id, 1)) as second:
            following = asyncio.create_task(anext(second))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            assert first.cancelled()
            go_on.set()
            update = await following
            while not isinstance(update.what, BatchProgress):
                await platform.nats.publish(subject, payloads.BatchProgress(attempt=1, epoch=1).SerializeToString())
                update = await anext(second)
    with pytest.raises(nats.errors.NoRespondersError):
        await platform.nats.request(subject, timeout=5)


async def test_something_comes_at_once(platform, run_id):
    """Headers and a heartbeat, where the next heartbeat is ten minutes away."""
    platform.trainer.runs[run_id] = "p"
    async with AsyncExitStack() as cleanup:
        replica = await platform.start(cleanup, heartbeat_seconds=600.0)
        stub = metrics_service_pb2_grpc.MetricsServiceStub(await cleanup.enter_async_context(channel(replica)))
        call = stub.WatchRun(api.WatchRunRequest(run_id=run_id), metadata=platform.admin, timeout=20)
        first = await call.read()
        assert (first.WhichOneof("message"), first.cursor, bool(first.incarnation)) == ("heartbeat", 0, True)
        pod = platform.sender(run_id, 1)
        await pod.send(pod.started())
        assert (await _next_event(call)).cursor == 1
        call.cancel()
        again = stub.WatchRun(api.WatchRunRequest(run_id=run_id, after_seq=1), metadata=platform.admin, timeout=20)
        assert (await again.read()).WhichOneof("message") == "heartbeat"
        again.cancel()


async def test_a_thousand_watches_fit_into_one_connection(platform, run_id):
    platform.trainer.runs[run_id] = "p"
    pod = platform.sender(run_id, 1)
    await pod.send(pod.started())
    await platform.committed(pod)
    request = api.WatchRunRequest(run_id=run_id, after_seq=1)
    async with grpc.aio.insecure_channel(platform.address) as connection:
        stub = metrics_service_pb2_grpc.MetricsServiceStub(connection)
        calls = [stub.WatchRun(request, metadata=platform.admin, timeout=60) for _ in range(1500)]
        assert {
            response.WhichOneof("message") for response in await asyncio.gather(*(call.read() for call in calls))
        } == {"heartbeat"}
        await pod.send(pod.epoch(1))
        assert {response.cursor for response in await asyncio.gather(*map(_next_event, calls))} == {2}
        for call in calls:
            call.cancel()


async def test_heartbeats_while_nothing_happens(platform, run_id):
    platform.trainer.runs[run_id] = "p"
    call = platform.stub.WatchRun(api.WatchRunRequest(run_id=run_id, after_seq=0), metadata=platform.admin, timeout=20)
    first = await call.read()
    assert first.WhichOneof("message") == "heartbeat"
    pod = platform.sender(run_id, 1)
    pod.started()
    await pod.send(*pod.events)
    found = await _next_event(call)
    assert found.event.attempt_started.worker == "w"
    call.cancel()


async def _next_event(call):
    """Whatever else comes before it; the call's deadline bounds the wait."""
    while (response := await call.read()).WhichOneof("message") != "event":
        pass
    return response


async def test_who_may_watch(platform, run_id):
    pod = platform.sender(run_id, 1, "p")
    pod.started()
    await pod.send(*pod.events)
    await platform.committed(pod)
    queued, evaluation = (run_id[:-1] + digit for digit in ("a", "b"))
    platform.trainer.runs[queued], platform.trainer.evaluations[evaluation] = "p", "p"
    unknown = "0" * 8 + run_id[8:]

    async def code(job, metadata):
        history = await _code(
            platform.stub.GetRunMetrics(api.GetRunMetricsRequest(run_id=job), metadata=metadata, timeout=5)
        )
        watch = platform.stub.WatchRun(api.WatchRunRequest(run_id=job), metadata=metadata, timeout=5)
        assert await _code(watch.read()) is history
        watch.cancel()
        return history

    platform.trainer.runs[run_id] = "p"
    own, other = platform.user(p="viewer"), platform.user(q="admin")
    for job in (run_id, queued, evaluation):
        assert await code(job, own) is grpc.StatusCode.OK
        assert await code(job, platform.admin) is grpc.StatusCode.OK
        assert await code(job, other) is grpc.StatusCode.NOT_FOUND
    assert await code(unknown, platform.admin) is grpc.StatusCode.NOT_FOUND
    assert await code("cells/17", platform.admin) is grpc.StatusCode.INVALID_ARGUMENT
    assert await code(run_id, None) is grpc.StatusCode.UNAUTHENTICATED


async def _code(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_draining_closes_watches_with_their_cursor(platform, run_id):
    pod = platform.sender(run_id, 1)
    pod.started()
    await pod.send(*pod.events)
    await platform.committed(pod)
    call = platform.stub.WatchRun(api.WatchRunRequest(run_id=run_id), metadata=platform.admin, timeout=10)
    found = []
    async for item in call:
        if item.WhichOneof("message") == "event":
            platform.app.draining.event.set()
        if item.WhichOneof("message") != "heartbeat":
            found.append(item)
    assert kinds(found) == ["attempt_started", "draining"]
    assert found[-1].cursor == 1


async def test_a_watcher_of_another_replica_is_woken(platform, run_id):
    """No heartbeat, and so no look at the database, falls into the time that the watcher has: only the wake-up explains
    what it sees."""
    pod = platform.sender(run_id, 1)
    pod.started()
    await pod.send(*pod.events)
    await platform.committed(pod)
    async with AsyncExitStack() as cleanup:
        replica = await platform.start(cleanup, heartbeat_seconds=600.0)
        stub = metrics_service_pb2_grpc.MetricsServiceStub(await cleanup.enter_async_context(channel(replica)))
        call = stub.WatchRun(api.WatchRunRequest(run_id=run_id), metadata=platform.admin, timeout=20)
        assert (await _next_event(call)).cursor == 1
        for number in range(1, 6):
            await pod.send(pod.epoch(number))
            assert (await _next_event(call)).event.epoch.epoch == number
        call.cancel()


@pytest.mark.parametrize("seed", range(3))
async def test_watchers_that_drop_and_resume_see_each_epoch_once(platform, run_id, seed):
    """The effective timeline, as a client rebuilds it from what it sees, equals the one sent; every seq comes once and
    in order."""
    rng = random.Random(seed)
    epochs = 60

    async def train():
        attempt, last = 1, 0
        pod = platform.sender(run_id, 1)
        pod.started()
        while last < epochs:
            for _ in range(rng.randint(1, 20)):
                last += 1
                pod.epoch(last, tag=float(attempt))
                if last == epochs:
                    break
            async with pod.publishing():
                await platform.committed(pod)
            if last < epochs and rng.random() < 0.5:
                attempt += 1
                last = rng.randint(0, last)
                pod = platform.sender(run_id, attempt)
                pod.started()
                pod.rolled_back(last)
        await finish(platform, run_id, pod)

    async def follow(dice):
        seen, cursor = [], 0
        while True:
            patience = dice.randint(1, 12)
            call = platform.stub.WatchRun(
                api.WatchRunRequest(run_id=run_id, after_seq=cursor), metadata=platform.admin, timeout=60
            )
            async for response in call:
                message = response.WhichOneof("message")
                if message == "closed":
                    assert response.closed.reason == api.CLOSED_REASON_ENDED
                    return seen
                if message == "event":
                    seen.append(response.event)
                    cursor = response.cursor
                    patience -= 1
                    if patience <= 0:
                        call.cancel()
                        break

    platform.trainer.runs[run_id] = "p"
    followers = [asyncio.create_task(follow(random.Random(seed * 100 + index))) for index in range(5)]
    await train()
    history = await platform.stub.GetRunMetrics(api.GetRunMetricsRequest(run_id=run_id), metadata=platform.admin)
    assert [item.epoch for item in history.epochs] == list(range(1, epochs + 1))
    for seen in await asyncio.gather(*followers):
        assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
        timeline = {}
        for event in seen:
            if event.HasField("epoch"):
                assert event.epoch.epoch not in timeline
                timeline[event.epoch.epoch] = event.epoch
            elif event.HasField("rolled_back"):
                timeline = {number: epoch for number, epoch in timeline.items() if number <= event.rolled_back.epoch}
        assert list(timeline.values()) == list(history.epochs)


async def test_a_stalled_watcher_is_closed_with_its_cursor(platform, run_id, second_replica):
    pod = platform.sender(run_id, 1)
    pod.started()
    for _ in range(150):
        pod.add(effective_arguments=payloads.EffectiveArguments(arguments={"filler": {"string_value": "x" * 100_000}}))
    async with pod.publishing():
        await platform.committed(pod, seconds=60)
    async with grpc.aio.insecure_channel(second_replica) as stalled:
        call = metrics_service_pb2_grpc.MetricsServiceStub(stalled).WatchRun(
            api.WatchRunRequest(run_id=run_id), metadata=platform.admin
        )
        with capture_logs() as logs:
            assert (await call.read()).cursor == 1  # and nothing more is read for now
            healthy = await platform.watch(run_id, until=lambda item: item.cursor == 151)
            assert len(healthy) == 151
            await eventually(
                lambda: any(entry.get("code") == "RESOURCE_EXHAUSTED" for entry in logs),
                "the stalled watcher is closed",
            )
        seen, refused = await _read_all(call)
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        info = error_details_pb2.ErrorInfo()
        assert rpc_status.from_call(refused).details[0].Unpack(info)
        assert info.reason == "WATCHER_TOO_SLOW"
        assert seen[-1] == int(info.metadata["cursor"]) < 151
        rest = await platform.watch(run_id, after_seq=seen[-1], until=lambda item: item.cursor == 151)
        assert [1, *seen, *(item.cursor for item in rest)] == list(range(1, 152))


async def _read_all(call):
    """The cursors up to the error, and the error."""
    seen = []
    try:
        while True:
            seen.append((await call.read()).cursor)
    except grpc.aio.AioRpcError as error:
        return seen, error
