"""Imports, listed and cancelled."""

import asyncio

import pytest
from splitrail.split.v1 import import_pb2, import_service_pb2

from .calls import PRECONDITION, refused_with

pytestmark = pytest.mark.integration
pb = import_service_pb2
OPEN, RUNNING, SUCCEEDED, FAILED, CANCELLED = (
    import_pb2.IMPORT_STATE_OPEN,
    import_pb2.IMPORT_STATE_RUNNING,
    import_pb2.IMPORT_STATE_SUCCEEDED,
    import_pb2.IMPORT_STATE_FAILED,
    import_pb2.IMPORT_STATE_CANCELLED,
)


async def cancel(api, import_id):
    return (await api.call(api.imports.CancelImport, pb.CancelImportRequest(import_id=import_id))).dataset_import


async def listed(api, **fields):
    """All imports, page by page."""
    found, token = [], ""
    while True:
        page = await api.call(api.imports.ListImports, pb.ListImportsRequest(page_size=2, page_token=token, **fields))
        found += page.dataset_imports
        token = page.next_page_token
        if not token:
            return found


async def test_imports_are_listed_newest_first(api, place, sources):
    done = await api.bring(sources.yolo(5))
    failed = await api.bring({"labels/a.txt": b"", "images/a.jpg": b"no image"}, dataset="others")
    opened = await api.open("others")
    assert [one.import_id for one in await listed(api)] == [opened.import_id, failed.import_id, done.import_id]
    first = (await listed(api, dataset_name="cells"))[0]
    assert (first.version, first.state, list(first.problems)) == (done.version, SUCCEEDED, [])
    assert [one.import_id for one in await listed(api, project_id=place.project, state=FAILED)] == [failed.import_id]
    assert (await listed(api, state=FAILED))[0].problem_count == failed.problem_count > 0
    assert await listed(api.as_user(elsewhere="viewer")) == []


async def test_an_open_import_is_cancelled_and_its_uploads_go(api, place, sources):
    files = sources.yolo(5)
    opened = await api.open(request_id="r1")
    await api.upload(await api.announce(opened.import_id, files), files)
    assert place.staged()
    cancelled = await cancel(api, opened.import_id)
    assert cancelled.state == CANCELLED
    assert await cancel(api, opened.import_id) == cancelled
    assert (await api.watch(opened.import_id)).state == CANCELLED
    await place.unstaged()
    for late in (api.announce(opened.import_id, files), api.start(opened.import_id)):
        assert await refused_with(late) == (PRECONDITION, "IMPORT_ENDED", {"state": "CANCELLED"})
    assert (await api.open(request_id="r1")).import_id != opened.import_id


async def test_what_has_ended_is_not_cancelled(api, sources):
    done = await api.bring(sources.yolo(5))
    assert await refused_with(cancel(api, done.import_id)) == (PRECONDITION, "IMPORT_ENDED", {"state": "SUCCEEDED"})


async def test_a_running_import_is_cancelled(place, sources, serve_at):
    files = sources.yolo(100)
    async with serve_at(place, import_lease_seconds=3) as api:
        opened = await api.open()
        await api.upload(await api.announce(opened.import_id, files), files)
        with place.gated("AFTER INSERT ON asset FOR EACH STATEMENT"):
            await api.start(opened.import_id)
            await place.until(place.waiting)
            # It waits with the import's row locked, as any step that counts does: the cancellation comes right after
            # it.
            cancelling = asyncio.create_task(cancel(api, opened.import_id))
            await asyncio.sleep(0)
        assert (await cancelling).state == CANCELLED
        assert (await api.watch(opened.import_id)).state == CANCELLED
        await asyncio.to_thread(place.execute, "DROP TRIGGER gate ON asset")
        assert (await api.bring(sources.yolo(5), dataset="next")).state == SUCCEEDED
    assert place.execute("SELECT name FROM dataset") == [("next",)]


async def test_a_worker_that_finishes_at_the_same_moment_commits_nothing(place, sources, serve_at):
    async with serve_at(place) as api:
        files = sources.yolo(5)
        opened = await api.open()
        await api.upload(await api.announce(opened.import_id, files), files)
        # Cancelled when all images are recorded, before the transaction that commits the version.
        place.execute(
            "CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "UPDATE import SET state = 'CANCELLED', lease_owner = NULL, unstage_after = now(); RETURN NULL; END $$"
        )
        place.execute("CREATE TRIGGER cancel AFTER INSERT ON asset FOR EACH STATEMENT EXECUTE FUNCTION cancel()")
        await api.start(opened.import_id)
        assert (await api.watch(opened.import_id)).state == CANCELLED
        await place.unstaged()
    assert place.execute("SELECT 1 FROM version") == []
    assert place.execute("SELECT 1 FROM dataset") == []
