"""Writes that meet the archiving of their project: they come before it, or are refused."""

import asyncio

import psycopg
import pytest
from splitrail.internal.split.v1 import staging_service_pb2
from splitrail.split.v1 import (
    dataset_service_pb2,
    import_pb2,
    project_service_pb2,
    split_service_pb2,
    version_pb2,
    version_service_pb2,
)
from splitrail_common.ids import new_id

from .calls import PRECONDITION, refused

pytestmark = pytest.mark.integration
ARCHIVED = (PRECONDITION, "PROJECT_ARCHIVED")


def archive(api, place):
    return api.call(api.projects.ArchiveProject, project_service_pb2.ArchiveProjectRequest(project_id=place.project))


def waiting(place) -> int:
    """Sessions of the database that wait for a lock."""
    return place.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )[0][0]


async def changes(api, sources, opened):
    """Calls that change something of the project, by name."""
    version = (await api.bring(sources.yolo(8), dataset="with-draft")).version
    other = (await api.bring(sources.yolo(6), dataset="free")).version
    split = await api.split(version.version_id)
    draft = await api.draft(version.dataset_id, base_version_id=version.version_id)
    d, s, v = dataset_service_pb2, split_service_pb2, version_service_pb2
    added = version_pb2.ClassChange(add=version_pb2.AddClass(name="new"))
    mask = {"paths": ["labels"]}
    return {
        "CreateDataset": api.dataset("new"),
        "UpdateDataset": api.call(
            api.datasets.UpdateDataset,
            d.UpdateDatasetRequest(dataset_id=version.dataset_id, update_mask=mask, labels={"a": "b"}),
        ),
        "CreateImport": api.open("more"),
        "AddFiles": api.announce(opened.import_id, {"labels/more.txt": b""}),
        "StartImport": api.start(opened.import_id),
        "CreateVersion": api.draft(version.dataset_id),
        "UpsertAssets": api.upsert(draft.version_id, {"path": "images/00001.jpg", "external_id": "x"}),
        "DeleteAssets": api.remove(draft.version_id, paths=["images/00002.jpg"]),
        "UpdateClasses": api.call(
            api.versions.UpdateClasses, v.UpdateClassesRequest(version_id=draft.version_id, changes=[added])
        ),
        "CommitVersion": api.commit(draft.version_id),
        "DeleteDraft": api.call(api.versions.DeleteDraft, v.DeleteDraftRequest(version_id=draft.version_id)),
        "CreateSplit": api.split(version.version_id, seed=1),
        "PinSplit": api.as_service().call(
            api.staging.PinSplit, staging_service_pb2.PinSplitRequest(split_id=split.split_id, job_id=new_id())
        ),
        "DeleteSplit": api.call(api.splits.DeleteSplit, s.DeleteSplitRequest(split_id=split.split_id)),
        "DeleteVersion": api.call(api.versions.DeleteVersion, v.DeleteVersionRequest(version_id=other.version_id)),
        "DeleteDataset": api.call(api.datasets.DeleteDataset, d.DeleteDatasetRequest(dataset_id=other.dataset_id)),
    }


async def test_a_write_that_would_commit_after_the_archiving_is_refused(place, sources, serve_at):
    async with serve_at(place, database_pool_size=30) as api:
        files = sources.yolo(4)
        opened = await api.open("started-late")
        await api.upload(await api.announce(opened.import_id, files), files)
        calls = await changes(api, sources, opened)
        with psycopg.connect(place.dsn) as archiving:
            # Archived, and not committed yet: each call still finds the project active when it begins.
            archiving.execute("UPDATE project SET archive_time = now() WHERE project_id = %s", (place.project,))
            pending = {name: asyncio.create_task(refused(call)) for name, call in calls.items()}
            await place.until(lambda: waiting(place) + sum(task.done() for task in pending.values()) == len(pending))
            assert [name for name, task in pending.items() if task.done()] == []
            archiving.commit()
        assert {name: (await task)[:2] for name, task in pending.items()} == dict.fromkeys(calls, ARCHIVED)


async def test_archiving_waits_for_a_write_that_has_begun(place, serve_at):
    async with serve_at(place) as api:
        with place.gated("AFTER INSERT ON dataset FOR EACH STATEMENT"):
            creating = asyncio.create_task(api.dataset("early"))
            await place.until(place.waiting)
            archiving = asyncio.create_task(archive(api, place))
            await place.until(lambda: waiting(place) == 2 or archiving.done())
            assert not archiving.done()
        assert (await creating).name == "early"
        assert (await archiving).project.HasField("archive_time")


async def test_an_import_whose_project_is_archived_while_it_waits_or_runs_fails(place, sources, serve_at):
    files = sources.yolo(6)
    async with serve_at(place, import_workers=0) as api:
        opened = await api.open()
        await api.upload(await api.announce(opened.import_id, files), files)
        await api.start(opened.import_id)
        await archive(api, place)
        async with serve_at(place):
            ended = await api.watch(opened.import_id)
            await place.unstaged()
    assert (ended.state, ended.problem_count) == (import_pb2.IMPORT_STATE_FAILED, 1)
    assert ended.failure == f"the project {place.project!r} was archived before the import had ended"
    for table in ("dataset", "version", "asset"):
        assert place.execute(f"SELECT 1 FROM {table}") == []
