"""Outages and kills: everything ends up committed, once and in order, without anybody's help."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import AsyncExitStack

import grpc
import pytest
from splitrail.events.v1 import event_pb2 as payloads
from splitrail.internal.metrics.v1 import watermark_service_pb2_grpc
from splitrail.metrics.v1 import metrics_service_pb2 as api
from splitrail.metrics.v1 import metrics_service_pb2_grpc
from splitrail_common.concurrency import ended
from splitrail_common.messaging import connect
from splitrail_common.peers import channel
from splitrail_local.ports import choose_free
from splitrail_local.testing import eventually
from splitrail_metrics.ingest.loop import Ingest

pytestmark = pytest.mark.integration


def numbers(platform, run_id):
    rows = platform.database.rows("SELECT seq, number FROM event WHERE run_id = %s ORDER BY seq", run_id)
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    return [row[1] for row in rows]


async def train(pod, epochs, pace=0.005):
    pod.started()
    for epoch in range(1, epochs + 1):
        pod.epoch(epoch)
        await asyncio.sleep(pace)


@pytest.mark.parametrize("wipe", [False, True], ids=["restart", "store deleted"])
async def test_nats_killed_in_the_middle_of_a_feed(platform, run_id, wipe):
    pod = platform.sender(run_id, 1)
    async with pod.publishing():
        training = asyncio.create_task(train(pod, 200))
        for share in (20, 60):
            await eventually(lambda share=share: len(pod.events) > share, "training goes on")
            platform.broker.kill()
            if wipe:
                platform.broker.wipe()
            platform.broker.start()
        await training
        await platform.committed(pod, seconds=60)
    assert numbers(platform, run_id) == list(range(1, 202))


async def test_the_stream_deleted_under_a_running_server(platform, run_id):
    pod = platform.sender(run_id, 1)
    async with pod.publishing():
        training = asyncio.create_task(train(pod, 100))
        await eventually(lambda: len(pod.events) > 30, "training goes on")
        await platform.jetstream.delete_stream("SPLITRAIL_RUNS")
        await training
        await platform.committed(pod, seconds=30)
        await platform.jetstream.delete_consumer("SPLITRAIL_RUNS", "metrics")
        pod.epoch(101)
        await platform.committed(pod, seconds=30)
    assert numbers(platform, run_id) == list(range(1, 103))


async def test_postgres_away_for_a_while(platform, run_id):
    pod = platform.sender(run_id, 1)
    async with pod.publishing():
        training = asyncio.create_task(train(pod, 150))
        for share in (30, 90):
            await eventually(lambda share=share: len(pod.events) > share, "training goes on")
            platform.database.away()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await pod.watermark()
            assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            platform.database.back()
        await training
        await platform.committed(pod, seconds=60)
    assert numbers(platform, run_id) == list(range(1, 152))


async def test_a_loss_is_made_good_while_new_events_keep_coming(platform, run_id):
    """The publisher must not take its own publishing for progress."""
    pod = platform.sender(run_id, 1)
    pod.started()
    await platform.stop_ingest()
    async with pod.publishing():
        talking = asyncio.create_task(train(pod, 10_000, 0.02))
        await eventually(lambda: len(pod.events) > 20, "events wait in the stream")
        await platform.jetstream.purge_stream("SPLITRAIL_RUNS")
        reached = len(pod.events)
        async with AsyncExitStack() as cleanup:
            await platform.start(cleanup)
            await platform.committed(pod, reached)
            assert not talking.done()
            await ended(talking)


class KilledError(Exception):
    """Ends an ingest as a kill would."""


async def test_ingest_killed_between_commit_and_acknowledgement(platform, run_id, lone_ingest):
    """The broker sends everything again to the next one, which finds duplicates only."""
    pod = platform.sender(run_id, 1)
    pod.started()
    for epoch in range(1, 21):
        pod.epoch(epoch)
    await pod.send(*pod.events)

    async def die(outcome):
        raise KilledError

    async def live(outcome):
        return None

    for _ in range(3):
        with pytest.raises(KilledError):
            await lone_ingest(die)
        if (await pod.watermark()).number == 21:
            break
        await pod.send(*pod.events)
    assert numbers(platform, run_id) == list(range(1, 22))
    more = pod.epoch(21)
    task = asyncio.create_task(lone_ingest(live))
    await pod.send(*pod.events[:-1], more)
    await platform.committed(pod)
    await ended(task)
    assert numbers(platform, run_id) == list(range(1, 23))


@pytest.fixture
async def lone_ingest(platform):
    """Runs an ingest in place of the service's own, which is standing by."""
    connection = await connect(platform.broker.url, name="lone", deadline_seconds=10)
    await platform.stop_ingest()

    async def run(committed):
        await Ingest(platform.database.dsn, connection, platform.verifier, committed).run()

    yield run
    await connection.close()


async def test_another_replica_takes_over(platform, run_id, second_replica):
    """The first loses its lock with its connection; whoever gets it next goes on, and no number is committed twice."""
    pod = platform.sender(run_id, 1)
    async with pod.publishing():
        training = asyncio.create_task(train(pod, 200))
        for share in (30, 70, 120):
            await eventually(lambda share=share: len(pod.events) > share, "training goes on")
            await eventually(
                lambda: platform.database.rows(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
                    " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
                ),
                "one of them holds the lock, and loses it",
            )
        await training
        await platform.committed(pod, seconds=40)
    assert numbers(platform, run_id) == list(range(1, 202))


async def test_the_service_killed_again_and_again(platform, run_id, process):
    """kill -9 of a real process at random moments; a watcher reopens from its cursor and sees each event once."""
    rng = random.Random(5)
    await platform.stop_ingest()
    address = await process.start()
    platform.trainer.runs[run_id] = "p"
    seen: list[int] = []
    incarnation = ""

    async with channel(address) as connection:
        platform.stub = metrics_service_pb2_grpc.MetricsServiceStub(connection)
        platform.watermarks = watermark_service_pb2_grpc.WatermarkServiceStub(connection)

        async def follow():
            nonlocal incarnation
            while True:
                request = api.WatchRunRequest(run_id=run_id, after_seq=seen[-1] if seen else 0, incarnation=incarnation)
                call = platform.stub.WatchRun(request, metadata=platform.admin, wait_for_ready=True)
                try:
                    async for response in call:
                        incarnation = response.incarnation
                        if response.WhichOneof("message") == "event":
                            seen.append(response.cursor)
                        elif (
                            response.WhichOneof("message") == "closed"
                            and response.closed.reason == api.CLOSED_REASON_ENDED
                        ):
                            return
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise

        following = asyncio.create_task(follow())
        pod, trainer = platform.sender(run_id, 1), platform.sender(run_id, 0)
        async with pod.publishing(), trainer.publishing():
            training = asyncio.create_task(train(pod, 400, 0.01))
            for _ in range(3):
                reached = len(pod.events) + rng.randint(5, 60)
                await eventually(lambda reached=reached: len(pod.events) >= min(reached, 400), "training goes on")
                process.kill()
                await process.start()
            await training
            await platform.committed(pod, seconds=60)
            trainer.state(payloads.JOB_STATE_SUCCEEDED)
            await platform.committed(trainer)
        await asyncio.wait_for(following, 20)
    assert numbers(platform, run_id) == [*range(1, 402), 1]
    assert seen == list(range(1, 403))


class Process:
    """`python -m splitrail_metrics` on a fixed address."""

    def __init__(self, platform, port):
        self._platform = platform
        self.address = f"127.0.0.1:{port}"
        self._process = None

    async def start(self):
        environment = self._platform.stack.environment("metrics") | {
            "SPLITRAIL_LISTEN": self.address,
            "SPLITRAIL_DATABASE_DSN": self._platform.database.dsn,
            "SPLITRAIL_NATS_URL": self._platform.broker.url,
            "SPLITRAIL_TRAINER_ADDRESS": self._platform.trainer_address,
        }
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it does not block
            [sys.executable, "-m", "splitrail_metrics"], env=os.environ | environment
        )
        async with channel(self.address) as connection:
            await asyncio.wait_for(connection.channel_ready(), 30)
        return self.address

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self):
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            assert self._process.wait(20) == 0


@pytest.fixture
def process(platform):
    running = Process(platform, choose_free(()))
    yield running
    running.stop()
