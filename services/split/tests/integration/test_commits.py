"""Commits: once, whole or not at all, on the base that the caller expects, whatever happens at the same time."""

import asyncio
from importlib.resources import files

import grpc
import psycopg
import pytest
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, version_pb2, version_service_pb2
from splitrail_common.ids import new_id

from .calls import PRECONDITION, columns, refused_with, sha

pytestmark = pytest.mark.integration
REVIEWED = version_pb2.AnnotationList()


async def versions(api, dataset_id) -> list[int]:
    request = dataset_service_pb2.ListVersionsRequest(dataset_id=dataset_id)
    return [one.number for one in (await api.call(api.datasets.ListVersions, request)).versions]


async def test_commits_of_one_draft_at_once_make_one_version(api, cells):
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    await api.upsert(draft.version_id, {"path": "images/00001.jpg", "annotations": REVIEWED})
    made = await asyncio.gather(*(api.commit(draft.version_id) for _ in range(6)))
    assert {(one.version_id, one.number) for one in made} == {(draft.version_id, 2)}
    assert await api.commit(draft.version_id) == made[0]
    assert await api.commit(cells.version_id) == cells
    assert await versions(api, cells.dataset_id) == [2, 1]
    found = await api.call(api.datasets.GetDataset, dataset_service_pb2.GetDatasetRequest(dataset_id=cells.dataset_id))
    assert found.dataset.latest_version == 2


async def test_the_second_of_two_drafts_of_one_base_is_told_what_has_changed(api, place, cells, sources):
    first, second = [await api.draft(cells.dataset_id, base_version_id=cells.version_id) for _ in range(2)]
    new = sources.picture(300)
    await api.send([new])
    await api.upsert(
        first.version_id, {"path": "images/00001.jpg", "annotations": REVIEWED}, {"path": "new.jpg", "sha256": sha(new)}
    )
    await api.remove(first.version_id, paths=["images/00002.jpg", "images/00003.jpg"])
    await api.upsert(second.version_id, {"path": "images/00004.jpg", "annotations": REVIEWED})
    done = await asyncio.gather(api.commit(first.version_id), api.commit(second.version_id), return_exceptions=True)
    winner, loser = (first, second) if isinstance(done[0], dataset_pb2.DatasetVersion) else (second, first)
    difference = (
        {"added": "1", "removed": "2", "changed": "1"}
        if winner is first
        else {"added": "0", "removed": "0", "changed": "1"}
    )
    metadata = {
        "expected_version_id": cells.version_id,
        "newest_version_id": winner.version_id,
        "newest_number": "2",
        **difference,
    }
    for _ in range(2):
        assert await refused_with(api.commit(loser.version_id)) == (grpc.StatusCode.ABORTED, "BASE_MOVED", metadata)
    assert await versions(api, cells.dataset_id) == [2, 1]
    # Who has seen the newest version can replace it.
    version = await api.commit(loser.version_id, expected=winner.version_id)
    assert (version.number, version.base_version_id) == (3, cells.version_id)
    assert place.execute("SELECT count(*) FROM draft_asset") == [(0,)]


async def test_an_import_moves_the_base_too(api, cells, sources):
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    await api.upsert(draft.version_id, {"path": "images/00001.jpg", "annotations": REVIEWED})
    await api.bring(sources.yolo(21))
    code, reason, metadata = await refused_with(api.commit(draft.version_id))
    assert (code, reason, metadata["added"]) == (grpc.StatusCode.ABORTED, "BASE_MOVED", "1")
    code, reason, metadata = await refused_with(api.commit(draft.version_id, expected=new_id()))
    assert (code, reason, metadata["added"]) == (grpc.StatusCode.ABORTED, "BASE_MOVED", "21")


async def test_a_first_version_expects_none(api, sources):
    made = await api.dataset()
    data = sources.picture(1)
    await api.send([data])
    first, second = [await api.draft(made.dataset_id) for _ in range(2)]
    for draft in (first, second):
        await api.upsert(draft.version_id, {"external_id": draft.version_id, "sha256": sha(data)})
    code, reason, metadata = await refused_with(api.commit(first.version_id, expected=new_id()))
    assert (code, reason, metadata["newest_version_id"]) == (grpc.StatusCode.ABORTED, "BASE_MOVED", "")
    assert (await api.commit(first.version_id)).number == 1
    assert (await refused_with(api.commit(second.version_id)))[1] == "BASE_MOVED"


async def test_a_draft_without_changes_is_its_base(api, place, cells):
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    shown = await api.assets(cells.version_id)
    path = shown[1].path
    await api.upsert(draft.version_id, {"path": path, "annotations": REVIEWED})
    await api.upsert(
        draft.version_id, {"path": path, "annotations": version_pb2.AnnotationList(items=shown[1].annotations)}
    )
    for _ in range(2):
        assert await api.commit(draft.version_id) == cells
    assert await versions(api, cells.dataset_id) == [1]
    assert place.execute("SELECT count(*) FROM draft_asset") == [(0,)]
    assert (await refused_with(api.upsert(draft.version_id, {"path": path, "annotations": REVIEWED})))[
        1
    ] == "VERSION_STATE"
    rebuilt = await api.draft(cells.dataset_id, class_names=cells.class_names)
    said = [
        {"path": one.path, "sha256": one.sha256, "label_state": one.label_state if one.label_state != 3 else 0}
        | ({"annotations": version_pb2.AnnotationList(items=one.annotations)} if one.annotations else {})
        for one in shown
    ]
    await api.upsert(rebuilt.version_id, *said)
    assert await api.commit(rebuilt.version_id, expected=cells.version_id) == cells


async def test_names_alone_make_a_version_with_the_same_digest(api, cells):
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    await api.upsert(draft.version_id, {"path": "images/00001.jpg", "external_id": "theirs"})
    version = await api.commit(draft.version_id)
    assert (version.number, version.digest) == (2, cells.digest)


async def test_a_draft_without_images_cannot_be_committed(api, cells):
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    await api.remove(draft.version_id, paths=[one.path for one in await api.assets(cells.version_id)])
    assert (await refused_with(api.commit(draft.version_id)))[:2] == (PRECONDITION, "VERSION_STATE")


async def test_a_committed_version_refuses_change(api, cells):
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    await api.upsert(draft.version_id, {"path": "images/00001.jpg", "annotations": REVIEWED})
    await api.commit(draft.version_id)
    before = [await api.assets(one) for one in (cells.version_id, draft.version_id)]
    state = (PRECONDITION, "VERSION_STATE", {})
    rename = version_pb2.ClassChange(rename=version_pb2.RenameClass(class_id=0, name="x"))
    for version_id in (cells.version_id, draft.version_id):
        assert await refused_with(api.upsert(version_id, {"path": "images/00001.jpg", "label_state": 1})) == state
        assert await refused_with(api.remove(version_id, paths=["images/00001.jpg"])) == state
        request = version_service_pb2.UpdateClassesRequest(version_id=version_id, changes=[rename])
        assert await refused_with(api.call(api.versions.UpdateClasses, request)) == state
        assert (
            await refused_with(
                api.call(api.versions.DeleteDraft, version_service_pb2.DeleteDraftRequest(version_id=version_id))
            )
            == state
        )
    assert [await api.assets(one) for one in (cells.version_id, draft.version_id)] == before


async def test_changes_at_the_time_of_a_commit_are_in_it_or_refused(api, cells):
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    paths = [one.path for one in await api.assets(cells.version_id)]

    await api.upsert(draft.version_id, {"path": paths[0], "external_id": paths[0]})
    changes = [
        asyncio.create_task(api.upsert(draft.version_id, {"path": path, "external_id": path})) for path in paths[1:]
    ]
    version = await api.commit(draft.version_id)
    done = await asyncio.gather(*changes, return_exceptions=True)
    failed = [one for one in done if isinstance(one, grpc.aio.AioRpcError)]
    assert {one.code() for one in failed} <= {PRECONDITION}
    kept = {path for path, one in zip(paths[1:], done, strict=True) if one not in failed}
    assert {one.external_id for one in await api.assets(version.version_id)} - {""} == kept | {paths[0]}


async def test_the_columns_of_a_commit_are_those_of_an_import_whatever_is_reused(api, place, sources):
    """Frames and links are taken from the base where they stay, and worked out anew where paths, contents or sequences
    change.
    """
    files = {
        path.replace("images/", "images/frame_").replace("labels/", "labels/frame_"): data
        for path, data in sources.yolo(12).items()
    }
    images = sorted(path for path in files if path.startswith("images/"))
    base = (await api.bring(files)).version

    async def committed(change, expected_files, newest):
        draft = await api.draft(base.dataset_id, base_version_id=newest.version_id)
        await change(draft.version_id)
        version = await api.commit(draft.version_id)
        wanted = (await api.bring(expected_files, f"d{version.number}")).version
        assert version.digest == wanted.digest
        assert columns(place, version.version_id) == columns(place, wanted.version_id)
        assert [one.path for one in await api.assets(version.version_id)] == [
            one.path for one in await api.assets(wanted.version_id)
        ]
        return version

    label = "labels/" + images[1].removeprefix("images/").replace(".jpg", ".txt")
    files = {**files, label: b""}
    version = await committed(
        lambda draft: api.upsert(draft, {"path": images[1], "annotations": REVIEWED}), files, base
    )
    gone = {images[4], "labels/" + images[4].removeprefix("images/").replace(".jpg", ".txt")}
    files = {path: data for path, data in files.items() if path not in gone}
    version = await committed(lambda draft: api.remove(draft, paths=[images[4]]), files, version)
    new = sources.picture(500)
    await api.send([new])
    files = {**files, "images/frame_00012.jpg": new}
    version = await committed(
        lambda draft: api.upsert(draft, {"path": "images/frame_00012.jpg", "sha256": sha(new)}), files, version
    )
    other = sources.picture(501)
    await api.send([other])
    files = {**files, images[0]: other}
    await committed(lambda draft: api.upsert(draft, {"path": images[0], "sha256": sha(other)}), files, version)


async def test_a_merge_that_somebody_else_made_already_is_that_version(api, place, cells):
    merge = version_pb2.ClassChange(merge=version_pb2.MergeClass(class_id=0, into_class_id=1))
    first, second = [await api.draft(cells.dataset_id, base_version_id=cells.version_id) for _ in range(2)]
    for draft in (first, second):
        await api.upsert(draft.version_id, {"path": "images/00001.jpg", "metadata": {"entries": {"site": "x"}}})
        await api.call(
            api.versions.UpdateClasses,
            version_service_pb2.UpdateClassesRequest(version_id=draft.version_id, changes=[merge]),
        )
    made = await api.commit(first.version_id)
    assert await api.commit(second.version_id, expected=made.version_id) == made
    assert await versions(api, cells.dataset_id) == [2, 1]


@pytest.mark.parametrize("table", ["version", "version_asset", "version_array", "draft"])
async def test_a_commit_that_is_killed_leaves_nothing_and_can_be_repeated(api, place, cells, process_at, table):
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    await api.upsert(draft.version_id, {"path": "images/00001.jpg", "annotations": REVIEWED})
    # The process is killed while it waits at this point of the transaction.
    event = f"AFTER {'UPDATE' if table == 'draft' else 'INSERT'} ON {table} FOR EACH STATEMENT"
    with place.gated(event):
        async with process_at(place) as (process, other):
            commit = asyncio.create_task(other.commit(draft.version_id))
            await place.until(place.waiting)
            await place.killed(process)
            with pytest.raises(grpc.aio.AioRpcError):
                await commit
    assert await versions(api, cells.dataset_id) == [1]
    assert place.execute("SELECT count(*) FROM draft_asset") == [(1,)]
    version = await api.commit(draft.version_id)
    assert (version.number, version.image_count, version.empty_count) == (2, 20, 3)


async def test_versions_from_before_have_stable_class_ids(stack, place):
    """The migration numbers the classes of what was there: equal names are one class."""
    migrations = {
        one.name: one.read_text()
        for one in (files("splitrail_split") / "migrations").iterdir()
        if one.name.endswith(".sql")
    }
    admin = stack.admin_dsn
    name = "split_old"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        with psycopg.connect(admin.rpartition("/")[0] + "/" + name, autocommit=True) as connection:
            for one in ("0001_datasets.sql", "0002_problem_object.sql", "0003_metadata_and_hashes.sql"):
                connection.execute(migrations[one])
            connection.execute(
                "INSERT INTO dataset (dataset_id, project_id, name, task) SELECT gen_random_uuid(), 'default', n, 1 FROM unnest(%s::text[]) n",
                (["a", "b"],),
            )
            insert = (
                "INSERT INTO version (version_id, dataset_id, project_id, number, state, class_names, image_count, object_count, empty_count,"
                " unlabelled_count, problem_count, class_images, class_objects, digest)"
                " SELECT gen_random_uuid(), dataset_id, 'default', %s, 2, %s, 0, 0, 0, 0, 0, '{}', '{}', '' FROM dataset WHERE name = %s"
            )
            for row in [(1, ["x", "y"], "a"), (2, ["z", "y"], "a"), (3, [], "a"), (1, ["y", "x", "q"], "b")]:
                connection.execute(insert, row)
            connection.execute(migrations["0004_drafts.sql"])
            found = connection.execute(
                "SELECT name, number, class_ids FROM version JOIN dataset USING (dataset_id) ORDER BY name, number"
            ).fetchall()
            assert found == [("a", 1, [0, 1]), ("a", 2, [2, 1]), ("a", 3, []), ("b", 1, [0, 1, 2])]
            assert connection.execute("SELECT name, next_class_id FROM dataset ORDER BY name").fetchall() == [
                ("a", 3),
                ("b", 3),
            ]
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
