"""The import queue when processes die: kill -9, a graceful stop, and a lease that another one took."""

import asyncio
import signal

import grpc
import pytest
from splitrail.split.v1 import import_pb2, import_service_pb2

from .calls import sha

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
async def test_an_import_survives_the_end_of_its_process(place, sources, serve_at, process_at, ending):
    files = sources.yolo(300)
    async with process_at(place, import_threads=1, import_lease_seconds=3) as (process, api):
        opened = await api.open()
        await api.upload(await api.announce(opened.import_id, files), files)
        await api.start(opened.import_id)
        await place.until(
            lambda: place.execute("SELECT 1 FROM import WHERE state = 'RUNNING' AND processed_count BETWEEN 1 AND 250")
        )
        process.send_signal(ending)
        await asyncio.wait_for(process.wait(), 20)
    async with serve_at(place, import_workers=0) as other:
        found = await other.call(
            other.imports.GetImport, import_service_pb2.GetImportRequest(import_id=opened.import_id)
        )
        state = found.dataset_import.state
        assert state == (
            import_pb2.IMPORT_STATE_RUNNING if ending is signal.SIGKILL else import_pb2.IMPORT_STATE_QUEUED
        )
        assert 0 < len(place.assets()) < 300
        async with process_at(place, import_lease_seconds=3):
            ended = await other.watch(opened.import_id)
            await place.unstaged()
    assert (ended.state, ended.version.number, ended.version.image_count) == (import_pb2.IMPORT_STATE_SUCCEEDED, 1, 300)
    assert place.execute("SELECT count(*) FROM version") == [(1,)]
    assert place.execute("SELECT count(*) FROM version_asset") == [(300,)]


async def test_an_import_of_a_list_survives_a_kill_and_nothing_of_it_is_swept_meanwhile(
    place, sources, serve_at, process_at
):
    pictures = [sources.picture(number) for number in range(150)]
    text = "object\n" + "".join(f"{place.put(f'{number:03}.jpg', data)}\n" for number, data in enumerate(pictures))
    wanted = {sha(data) for data in pictures}
    # The second batch stops where its images are stored and their rows are not committed.
    with place.gated("AFTER INSERT ON asset FOR EACH STATEMENT", "(SELECT count(*) FROM asset) > 64"):
        async with process_at(place, import_lease_seconds=3) as (process, api):
            opened = await api.open()
            assert await api.announce(opened.import_id, {"objects.csv": text.encode()}, along=True) == []
            await api.start(opened.import_id)
            await place.until(place.waiting)
            await place.killed(process)
    left = place.kept()
    assert (len(place.assets()), len(left)) == (64, 128)
    assert {one for (one,) in place.execute("SELECT encode(sha256, 'hex') FROM import_member")} == left
    async with serve_at(place, import_workers=0, asset_grace_seconds=0) as other:
        await place.swept()
        assert (len(place.assets()), place.kept()) == (64, left)
        async with process_at(place, import_lease_seconds=3):
            ended = await other.watch(opened.import_id)
        assert (ended.state, ended.problem_count, ended.processed_count) == (import_pb2.IMPORT_STATE_SUCCEEDED, 0, 150)
        shown = await other.assets(ended.version.version_id)
    assert place.execute("SELECT number FROM version") == [(1,)]
    assert [(one.path, one.sha256) for one in shown] == [
        (f"{number:03}.jpg", sha(data)) for number, data in enumerate(pictures)
    ]
    assert place.assets() == place.kept() == wanted


async def test_a_holder_whose_lease_was_taken_commits_nothing(place, sources, serve_at):
    async with serve_at(place, import_workers=0) as api:
        files = sources.yolo(5)
        opened = await api.open()
        await api.upload(await api.announce(opened.import_id, files), files)
        await api.start(opened.import_id)
    stranger = "018f0000-0000-7000-8000-000000000000"
    place.execute(
        "CREATE FUNCTION taken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"UPDATE import SET lease_owner = '{stranger}', lease_until = now() + interval '1 hour' WHERE state = 'RUNNING'; RETURN NEW; END $$"
    )
    # The lease changes hands in the middle of the work: when the first assets are recorded.
    place.execute("CREATE TRIGGER taken AFTER INSERT ON asset FOR EACH STATEMENT EXECUTE FUNCTION taken()")
    async with serve_at(place, import_workers=1):
        await place.until(lambda: place.execute("SELECT 1 FROM import WHERE lease_owner = %s", stranger))
        await place.until(lambda: len(place.stored()) == 5)
    assert place.execute("SELECT state FROM import") == [("RUNNING",)]
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
    assert (await stream.read()).dataset_import.state == import_pb2.IMPORT_STATE_OPEN
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
        await place.until(lambda: place.execute("SELECT count(*) FROM import_file") == [(0,)])
