"""After a restore from a backup a cursor of before is refused, so that no watcher takes another event for the one that
it has seen."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack

import grpc
import psycopg
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from psycopg import sql
from splitrail.metrics.v1 import metrics_service_pb2 as api
from splitrail_common.database import open_pool
from splitrail_local.testing import eventually
from splitrail_metrics.history.store import Store
from splitrail_metrics.ingest import incarnation
from splitrail_metrics.live.tail import Tail

pytestmark = pytest.mark.integration


async def refused(platform, run_id, after_seq, name=""):
    """The metadata of the refusal."""
    request = api.WatchRunRequest(run_id=run_id, after_seq=after_seq, incarnation=name)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await platform.stub.WatchRun(request, metadata=platform.admin, timeout=20).read()
    return out_of_range(caught.value)


def out_of_range(error):
    assert error.code() is grpc.StatusCode.OUT_OF_RANGE
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(error).details[0].Unpack(info)
    assert info.reason == "CURSOR_OUT_OF_RANGE"
    return dict(info.metadata)


async def three_events(platform, run_id):
    """Committed; returns the pod and the incarnation."""
    pod = platform.sender(run_id, 1)
    pod.started()
    pod.epoch(1)
    pod.epoch(2)
    await pod.send(*pod.events)
    await platform.committed(pod)
    (last,) = await platform.watch(run_id, after_seq=2, until=lambda item: item.cursor == 3)
    return pod, last.incarnation


async def test_cursors_of_another_incarnation_and_beyond_the_feed_are_refused(platform, run_id):
    _, name = await three_events(platform, run_id)
    assert [
        item.cursor for item in await platform.watch(run_id, 1, incarnation=name, until=lambda item: item.cursor == 3)
    ] == [2, 3]
    assert await refused(platform, run_id, 2, "another") == {"incarnation": name, "last_seq": "3"}
    assert await refused(platform, run_id, 4) == {"incarnation": name, "last_seq": "3"}
    platform.trainer.runs[queued := run_id[:-1] + "0"] = "p"
    assert await refused(platform, queued, 1, name) == {"incarnation": name, "last_seq": "0"}


async def test_a_restart_keeps_the_incarnation(platform, run_id):
    _, name = await three_events(platform, run_id)
    async with AsyncExitStack() as cleanup:
        await platform.start(cleanup)
    assert platform.database.rows("SELECT incarnation FROM incarnation") == [(name,)]


async def test_a_restored_database_begins_a_new_incarnation(platform, run_id):
    """A copy, as after a restore, lies under the service while it runs: whoever watches is told, whoever comes back
    too."""
    pod, name = await three_events(platform, run_id)
    database = platform.database
    saved, admin = sql.Identifier(f"{database.name}_saved"), psycopg.connect(database.admin_dsn, autocommit=True)
    watching = asyncio.create_task(_read_to_the_end(platform, run_id))
    with admin:
        await asyncio.to_thread(database.away)
        admin.execute(
            sql.SQL("CREATE DATABASE {} OWNER splitrail_metrics TEMPLATE {}").format(
                saved, sql.Identifier(database.name)
            )
        )
        await asyncio.to_thread(database.back)
        await eventually(lambda: _committed(platform, pod), "the service goes on with the original")
        pod.epoch(3)
        pod.epoch(4)
        await pod.send(*pod.events[3:])
        await platform.committed(pod)
        await asyncio.to_thread(database.away)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))
        admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(saved, sql.Identifier(database.name)))
    seen, error = await asyncio.wait_for(watching, 60)
    assert seen == [1, 2, 3, 4, 5]
    told = out_of_range(error)
    assert told["incarnation"] != name
    assert await refused(platform, run_id, 3, name) == told
    pod.rolled_back(1)
    await pod.send(*pod.events[3:])
    await platform.committed(pod)
    found = await platform.watch(run_id, until=lambda item: item.cursor == 6)
    assert [item.cursor for item in found] == [1, 2, 3, 4, 5, 6]
    assert {item.incarnation for item in found} == {told["incarnation"]}


async def _committed(platform, sender):
    try:
        return (await sender.watermark()).number == 3
    except grpc.aio.AioRpcError as error:
        if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise
        return False


async def _read_to_the_end(platform, run_id):
    """Seqs that a client sees that reopens as the contract says, and the refusal that stops it."""
    seen, name = [], ""
    while True:
        request = api.WatchRunRequest(run_id=run_id, after_seq=seen[-1] if seen else 0, incarnation=name)
        try:
            async for response in platform.stub.WatchRun(request, metadata=platform.admin):
                name = response.incarnation
                if response.WhichOneof("message") == "event":
                    seen.append(response.cursor)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                return seen, error
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.1)


async def test_what_tells_a_restored_database_apart(platform, template):
    """A clone has the same rows, cluster and timeline, and even tables of the same identity: yet it is another
    database."""
    with template.clone() as clone:
        names = []
        for dsn in (platform.database.dsn, clone.dsn, clone.dsn):
            async with (
                open_pool(dsn, size=1, deadline_seconds=20, package="splitrail_metrics") as pool,
                pool.connection() as connection,
            ):
                names.append(await incarnation.settle(connection))
                names.append(await incarnation.settle(connection))
        assert names[0] == names[1] != names[2] == names[3] == names[4] == names[5]


async def test_the_command_begins_a_new_incarnation_under_a_running_service(platform, run_id):
    _, name = await three_events(platform, run_id)
    call = platform.stub.WatchRun(
        api.WatchRunRequest(run_id=run_id, after_seq=3, incarnation=name), metadata=platform.admin, timeout=30
    )
    assert (await call.read()).WhichOneof("message") == "heartbeat"
    environment = {
        **os.environ,
        **platform.stack.environment("metrics"),
        "SPLITRAIL_DATABASE_DSN": platform.database.dsn,
    }
    command = [sys.executable, "-m", "splitrail_metrics", "new-incarnation"]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    printed, _ = await asyncio.wait_for(process.communicate(), 60)
    begun = printed.decode().strip()
    assert process.returncode == 0
    assert begun not in ("", name)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _only_heartbeats(call)
    assert out_of_range(caught.value)["incarnation"] == begun
    found = await platform.watch(run_id, until=lambda item: item.cursor == 3)
    assert {item.incarnation for item in found} == {begun}


async def _only_heartbeats(call):
    while (response := await call.read()).WhichOneof("message") == "heartbeat":
        pass
    return response


async def test_a_tail_with_a_hole_is_filled_before_it_is_closed(platform, run_id):
    """Offered the end of a feed whose middle it has not seen, it reads the middle from the database."""
    pod, name = await three_events(platform, run_id)
    async with open_pool(platform.database.dsn, size=1, deadline_seconds=20, package="splitrail_metrics") as pool:
        store = Store(pool)
        tail: Tail[int] = Tail(run_id, store, lambda event, _: event.seq)
        assert await tail.reach(3)
        trainer = platform.sender(run_id, 0)
        pod.epoch(3)
        pod.epoch(4)
        await pod.send(*pod.events[3:])
        await platform.committed(pod)
        trainer.state(3)
        await trainer.send(*trainer.events)
        await platform.committed(trainer)
        head = await store.head(run_id)
        last = (await store.events_after(run_id, 5)).events
        assert [event.seq for event in last] == [6]
        tail.offer(name, head.feed, last)
        assert not tail.closed, "4 and 5 were not seen yet"
        assert [entry.seq for entry in await tail.after(3)] == [4, 5, 6]
        assert (tail.closed, tail.end) == (True, 6)
