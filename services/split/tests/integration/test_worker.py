"""The import queue when processes die: kill -9, a graceful stop, and a lease that another one took."""

import asyncio
import os
import signal
import socket
import sys

import grpc
import pytest
from splitrail.split.v1 import import_pb2, import_service_pb2
from splitrail_common.peers import bearer

pytestmark = pytest.mark.integration


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


async def start(place, **settings):
    """The service as a process of its own, and its address once it serves."""
    address = free_address()
    environment = {**os.environ, **place.environment(address), **{f"SPLITRAIL_{k.upper()}": str(v) for k, v in settings.items()}}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "splitrail_split", env=environment, stderr=asyncio.subprocess.DEVNULL)
    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.wait_for(channel.channel_ready(), 30)
    return process, address


async def until(condition, seconds: float = 30):
    deadline = asyncio.get_running_loop().time() + seconds
    while not (value := condition()):
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)
    return value


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
async def test_an_import_survives_the_end_of_its_process(place, sources, serve_at, ending):
    files = sources.yolo(300)
    process, address = await start(place, import_threads=1, import_lease_seconds=3)
    async with grpc.aio.insecure_channel(address) as channel, serve_at(place, import_workers=0) as other:
        api = type(other)(channel, place, bearer(place.stack.user_token({"*": "admin"})))
        opened = await api.open()
        await api.upload(await api.announce(opened.import_id, files), files)
        await api.start(opened.import_id)
        await until(lambda: place.execute("SELECT 1 FROM import WHERE state = 3 AND processed_count BETWEEN 1 AND 250"))
        process.send_signal(ending)
        await asyncio.wait_for(process.wait(), 20)
        found = await other.call(other.imports.GetImport, import_service_pb2.GetImportRequest(import_id=opened.import_id))
        state = getattr(found, "import").state
        assert state == (import_pb2.IMPORT_STATE_RUNNING if ending is signal.SIGKILL else import_pb2.IMPORT_STATE_QUEUED)
        kept = place.execute("SELECT count(*) FROM asset")[0][0]
        assert 0 < kept < 300
        second, _ = await start(place, import_lease_seconds=3)
        try:
            ended = await other.watch(opened.import_id)
            await place.unstaged()
        finally:
            second.terminate()
            await asyncio.wait_for(second.wait(), 20)
    assert (ended.state, ended.version.number, ended.version.image_count) == (import_pb2.IMPORT_STATE_SUCCEEDED, 1, 300)
    assert place.execute("SELECT count(*) FROM version") == [(1,)]
    assert place.execute("SELECT count(*) FROM version_asset") == [(300,)]


async def test_a_holder_whose_lease_was_taken_commits_nothing(place, sources, serve_at):
    async with serve_at(place, import_workers=0) as api:
        files = sources.yolo(5)
        opened = await api.open()
        await api.upload(await api.announce(opened.import_id, files), files)
        await api.start(opened.import_id)
    stranger = "018f0000-0000-7000-8000-000000000000"
    place.execute(
        "CREATE FUNCTION taken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"UPDATE import SET lease_owner = '{stranger}', lease_until = now() + interval '1 hour' WHERE state = 3; RETURN NEW; END $$"
    )
    # The lease changes hands in the middle of the work: when the first assets are recorded.
    place.execute("CREATE TRIGGER taken AFTER INSERT ON asset FOR EACH STATEMENT EXECUTE FUNCTION taken()")
    async with serve_at(place, import_workers=1):
        await until(lambda: place.execute("SELECT 1 FROM import WHERE lease_owner = %s", stranger))
        await until(lambda: len(place.stored()) == 5)
    assert place.execute("SELECT state FROM import") == [(int(import_pb2.IMPORT_STATE_RUNNING),)]
    assert place.execute("SELECT 1 FROM version") == []


async def test_an_import_that_keeps_killing_its_process_is_given_up(place, sources, serve_at):
    async with serve_at(place, import_workers=0) as api:
        files = sources.yolo(5)
        opened = await api.open()
        await api.upload(await api.announce(opened.import_id, files), files)
        await api.start(opened.import_id)
    place.execute("UPDATE import SET claims = 8")
    async with serve_at(place) as api:
        ended = await api.watch(opened.import_id)
    assert ended.state == import_pb2.IMPORT_STATE_FAILED
    assert "given up" in ended.failure


async def test_a_watch_ends_with_unavailable_when_the_service_stops(api):
    opened = await api.open()
    request = import_service_pb2.WatchImportRequest(import_id=opened.import_id)
    stream = api.imports.WatchImport(request, metadata=api.metadata)
    assert getattr(await stream.read(), "import").state == import_pb2.IMPORT_STATE_OPEN
    api.draining.event.set()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stream.read()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_an_import_that_nobody_starts_is_abandoned(place, sources, serve_at):
    async with serve_at(place) as api:
        files = sources.yolo(3)
        opened = await api.open(request_id="r")
        await api.upload(await api.announce(opened.import_id, files), files)
        assert len(place.staged()) > 0
        place.execute("UPDATE import SET create_time = now() - interval '8 days'")
        ended = await api.watch(opened.import_id)
        assert ended.state == import_pb2.IMPORT_STATE_FAILED
        assert "abandoned" in ended.failure
        await place.unstaged()
        await until(lambda: place.execute("SELECT count(*) FROM import_file") == [(0,)])
