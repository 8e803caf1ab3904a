"""Deleting, and what then becomes of bytes: gone when nothing names them, kept when anything does, whoever is killed
when.
"""

import asyncio
import io

import grpc
import psycopg
import pytest
from splitrail.internal.split.v1 import staging_service_pb2
from splitrail.split.v1 import dataset_service_pb2, import_pb2, version_pb2, version_service_pb2
from splitrail_common.ids import new_id

from .calls import NOT_FOUND, PRECONDITION, refused_with, sha

pytestmark = pytest.mark.integration
REVIEWED = version_pb2.AnnotationList()


@pytest.fixture
async def api(place, serve_at):
    """A service that keeps nothing for a second try of an import."""
    async with serve_at(place, asset_grace_seconds=0) as made:
        yield made


def contents(files: dict[str, bytes]) -> set[str]:
    return {sha(data) for path, data in files.items() if path.endswith(".jpg")}


def held(place) -> set[str]:
    """Contents that are assets: by their rows, and by their bytes."""
    rows = place.assets()
    assert rows == place.kept()
    return rows


async def delete_version(api, version_id):
    await api.call(api.versions.DeleteVersion, version_service_pb2.DeleteVersionRequest(version_id=version_id))


async def delete_dataset(api, dataset_id):
    await api.call(api.datasets.DeleteDataset, dataset_service_pb2.DeleteDatasetRequest(dataset_id=dataset_id))


async def test_what_a_job_uses_stays_and_everything_else_goes(api, place, sources):
    files = sources.yolo(8)
    first = (await api.bring(files)).version
    second = (await api.bring({**files, "labels/00001.txt": b""})).version
    await api.split(first.version_id, seed=2)
    split, job = await api.split(first.version_id), new_id()
    await api.split(second.version_id)
    await api.as_service().call(
        api.staging.PinSplit, staging_service_pb2.PinSplitRequest(split_id=split.split_id, job_id=job)
    )
    pinned = (PRECONDITION, "PINNED", {"pinned_by": job})
    assert await refused_with(delete_version(api, first.version_id)) == pinned
    assert await refused_with(delete_dataset(api, first.dataset_id)) == pinned
    await delete_version(api, second.version_id)
    assert (await refused_with(delete_version(api, second.version_id)))[0] is NOT_FOUND
    found = await api.call(api.datasets.GetDataset, dataset_service_pb2.GetDatasetRequest(dataset_id=first.dataset_id))
    assert found.dataset.latest_version == 1
    # Numbers are not used again.
    assert (await api.bring({**files, "labels/00002.txt": b""})).version.number == 3
    await place.swept()
    assert held(place) == contents(files)
    place.execute("DELETE FROM split_pin")
    await api.draft(first.dataset_id, class_names=["x"])
    await delete_dataset(api, first.dataset_id)
    for table in ("dataset", "version", "version_asset", "version_array", "split_revision", "draft", "draft_asset"):
        assert place.execute(f"SELECT 1 FROM {table}") == [], table
    await place.until(lambda: not place.stored())
    await place.until(lambda: held(place) == set())


async def test_a_base_stays_while_a_draft_needs_it(api, place, sources):
    version = (await api.bring(sources.yolo(5))).version
    draft = await api.draft(version.dataset_id, base_version_id=version.version_id)
    await api.upsert(draft.version_id, {"path": "images/00001.jpg", "annotations": REVIEWED})
    expected = (PRECONDITION, "PINNED", {"pinned_by": draft.version_id})
    assert await refused_with(delete_version(api, version.version_id)) == expected
    later = await api.draft(version.dataset_id, base_version_id=version.version_id)
    made = await api.commit(draft.version_id)
    await api.call(api.versions.DeleteDraft, version_service_pb2.DeleteDraftRequest(version_id=later.version_id))
    await delete_version(api, version.version_id)
    assert (await api.commit(draft.version_id)).base_version_id == ""
    await place.swept()
    assert held(place) == {one.sha256 for one in await api.assets(made.version_id)}
    await delete_version(api, made.version_id)
    assert (await refused_with(api.commit(draft.version_id)))[0] is NOT_FOUND
    await place.until(lambda: not place.stored())


async def test_shared_contents_stay_as_long_as_anything_names_them(api, place, sources):
    files = sources.yolo(6)
    images = [data for path, data in sorted(files.items()) if path.endswith(".jpg")]
    version = (await api.bring(files)).version
    other = (await api.bring({path: data for path, data in files.items() if "00001" not in path}, "others")).version
    mine = await api.dataset()
    draft = await api.draft(mine.dataset_id)
    await api.upsert(draft.version_id, {"external_id": "e", "sha256": sha(images[1])})
    await delete_dataset(api, version.dataset_id)
    await place.swept()
    assert held(place) == contents(files)
    await delete_version(api, draft.version_id)
    await place.until(lambda: len(place.stored()) == 5)
    assert held(place) == contents(files) - {sha(images[1])}
    await delete_version(api, other.version_id)
    await place.until(lambda: not place.stored())


async def test_another_projects_equal_bytes_are_its_own(api, place, sources):
    files = sources.yolo(4)
    version = (await api.bring(files)).version
    place.execute("INSERT INTO project (project_id) VALUES ('neighbour')")
    request = dataset_service_pb2.CreateDatasetRequest(project_id="neighbour", name="theirs")
    theirs = (await api.call(api.datasets.CreateDataset, request)).dataset
    draft = await api.draft(theirs.dataset_id)
    # What this project holds is no reason for the other one to have it.
    data = files["images/00001.jpg"]
    assert (await refused_with(api.upsert(draft.version_id, {"external_id": "e", "sha256": sha(data)})))[
        1
    ] == "UPLOAD_MISSING"
    check = version_service_pb2.CheckAssetsRequest(
        project_id="neighbour", contents=[version_pb2.AssetContent(sha256=sha(data), size_bytes=len(data))]
    )
    await api.upload(list((await api.call(api.versions.CheckAssets, check)).uploads), {"": data})
    await api.upsert(draft.version_id, {"external_id": "e", "sha256": sha(data)})
    await delete_dataset(api, version.dataset_id)
    await place.swept()
    await place.until(lambda: not place.stored())
    assert place.keys("projects/neighbour/assets/") == {f"projects/neighbour/assets/{sha(data)}"}


async def test_an_import_that_counts_on_contents_keeps_them(api, place, sources):
    files = sources.yolo(6)
    version = (await api.bring(files)).version
    opened = await api.open("later")
    uploads = await api.announce(opened.import_id, files)
    assert not any(one.sha256 in contents(files) for one in uploads)
    await delete_dataset(api, version.dataset_id)
    await place.swept()
    assert held(place) == contents(files)
    await api.upload(uploads, files)
    await api.start(opened.import_id)
    ended = await api.watch(opened.import_id)
    assert (ended.state, ended.version.image_count, ended.version.digest) == (
        import_pb2.IMPORT_STATE_SUCCEEDED,
        6,
        version.digest,
    )
    await place.swept()
    assert held(place) == contents(files)


async def test_what_a_caller_was_promised_stays_until_the_promise_ends(api, place, sources):
    files = sources.yolo(3)
    version = (await api.bring(files)).version
    known, staged = files["images/00001.jpg"], sources.picture(77)
    await api.send([known, staged])
    # An import of the same bytes that ends does not take them away.
    opened = await api.open("others")
    await api.announce(opened.import_id, {"a.jpg": staged})
    place.execute("UPDATE import SET create_time = now() - interval '8 days' WHERE import_id = %s", opened.import_id)
    assert (await api.watch(opened.import_id)).state == import_pb2.IMPORT_STATE_FAILED
    await place.until(lambda: place.execute("SELECT 1 FROM import WHERE unstage_after IS NOT NULL") == [])
    await delete_dataset(api, version.dataset_id)
    await place.walked()
    assert held(place) == {sha(known)}
    assert {key.rpartition("/")[2] for key in place.staged()} == {sha(staged)}
    assert await api.check([known, staged]) == []
    await place.swept()
    await place.until(lambda: not place.staged())
    assert held(place) == set()
    assert {one.sha256 for one in await api.check([known, staged])} == {sha(known), sha(staged)}


async def test_a_walk_that_was_killed_between_row_and_bytes_is_made_good(api, place, sources):
    files = sources.yolo(5)
    version = (await api.bring(files)).version
    client, bucket = place.storage(), place.stack.s3_bucket
    # As after a kill: the bytes of an asset without its row; and something that is none.
    lost = f"projects/{place.project}/assets/{sha(b'lost')}"
    for key in (lost, f"projects/{place.project}/assets/readme"):
        client.put_object(bucket, key, io.BytesIO(b"lost"), 4)
    # A walk that somebody was in the middle of.
    place.execute("INSERT INTO asset_sweep (project_id) VALUES (%s) ON CONFLICT DO NOTHING", place.project)
    place.execute(
        "UPDATE asset_sweep SET after = %s, claimed_until = now() - interval '1 second' WHERE project_id = %s",
        "8" * 64,
        place.project,
    )
    await place.swept()
    await place.until(lambda: lost not in place.stored())
    assert place.stored() == {f"projects/{place.project}/assets/{one}" for one in [*contents(files), "readme"]}
    client.remove_object(bucket, f"projects/{place.project}/assets/readme")
    assert held(place) == contents(files) == {one.sha256 for one in await api.assets(version.version_id)}


STEPS = {
    "asset rows deleted, not committed": "AFTER DELETE ON asset FOR EACH STATEMENT",
    "asset rows gone, bytes there": "AFTER DELETE ON asset FOR EACH STATEMENT",
    "bytes gone, walk not advanced": "AFTER UPDATE ON asset_sweep FOR EACH ROW WHEN (OLD.claimed_until > NEW.claimed_until)",
}


@pytest.mark.parametrize("point", STEPS)
async def test_a_process_killed_in_a_walk_loses_nothing_and_the_next_one_ends_it(place, sources, process_at, point):
    files = sources.yolo(8)
    images = [data for path, data in sorted(files.items()) if path.endswith(".jpg")]
    kept, promised, again = {sha(one) for one in images[:2]}, images[2], images[3]
    gone = contents(files) - kept - {sha(promised)}
    async with process_at(place, asset_grace_seconds=0) as (process, api):
        version = (await api.bring(files)).version
        others = [path for path in files if path.endswith(".yaml") or any(f"0000{n}" in path for n in range(2))]
        await api.bring({path: files[path] for path in others}, "others")
        assert await api.check([promised]) == []
        with place.gated(STEPS[point]) as gate, psycopg.connect(place.dsn) as next_in_line:
            await delete_dataset(api, version.dataset_id)
            await place.until(place.waiting)
            if point == "asset rows gone, bytes there":
                # Whoever waits for the staging lock comes before the walk takes it again.
                lock = "SELECT pg_advisory_xact_lock(hashtextextended('staging/' || %s, 0))"
                locking = asyncio.create_task(asyncio.to_thread(next_in_line.execute, lock, (place.project,)))
                await place.until(lambda: len(place.waiting()) == 2)
                gate.execute("SELECT pg_advisory_unlock_all()")
                await locking
                await place.until(place.waiting)
            await place.killed(process)
    left = contents(files) - gone
    assert (place.assets(), place.kept()) == {
        "asset rows deleted, not committed": (contents(files), contents(files)),
        "asset rows gone, bytes there": (left, contents(files)),
        "bytes gone, walk not advanced": (left, left),
    }[point]
    assert place.execute("SELECT 1 FROM asset_sweep WHERE after = '' AND claimed_until > now()") == [(1,)]
    async with process_at(place, asset_grace_seconds=0) as (_, api):
        # Somebody counts on what the walk was about to remove, while it is made again.
        place.execute("UPDATE asset_sweep SET claimed_until = now()")
        await api.send([again])
        draft = await api.draft((await api.dataset()).dataset_id)
        await api.upsert(draft.version_id, {"external_id": "again", "sha256": sha(again)})
        await api.commit(draft.version_id)
        await place.walked()
        assert held(place) == kept | {sha(promised), sha(again)}


async def test_images_of_a_refused_import_stay_for_a_second_try(place, serve_at, sources):
    files = {**sources.yolo(6), "labels/00001.txt": b"0 0.5 0.5 0 0.2\n1 0.5 0.5 0.1 0.1\n"}
    async with serve_at(place) as api:
        assert (await api.bring(files, strict=True)).state == import_pb2.IMPORT_STATE_FAILED
        await place.swept()
        assert held(place) == contents(files)
        place.execute("UPDATE asset SET create_time = now() - interval '25 hours'")
        await place.swept()
        await place.until(lambda: not place.stored())


async def test_deletions_and_uses_at_once(api, place, sources):
    """Versions come and go while others count on the same bytes: nobody is left with images that have none."""
    files = sources.yolo(4)
    images = [data for path, data in sorted(files.items()) if path.endswith(".jpg")]
    mine = await api.dataset()

    async def importing(turn: int):
        ended = await api.bring(files, f"d{turn % 2}")
        return ended.version

    async def drafting(turn: int):
        await api.send(images)
        draft = await api.draft(mine.dataset_id)
        await api.upsert(
            draft.version_id, *({"external_id": str(n), "sha256": sha(data)} for n, data in enumerate(images))
        )
        await api.call(api.versions.DeleteDraft, version_service_pb2.DeleteDraftRequest(version_id=draft.version_id))

    async def sweeping():
        while True:
            await asyncio.to_thread(place.execute, "UPDATE asset_sweep SET due_time = now()")
            await asyncio.sleep(0.01)

    sweeper = asyncio.create_task(sweeping())
    for turn in range(4):
        versions = await asyncio.gather(importing(2 * turn), importing(2 * turn + 1), drafting(turn))
        for version in versions[:2]:
            stored = await asyncio.to_thread(place.kept)
            assert {one.sha256 for one in await api.assets(version.version_id)} <= stored
            await delete_dataset(api, version.dataset_id)
    sweeper.cancel()
    await place.swept()
    await place.until(lambda: not place.stored())
    assert held(place) == set()


async def test_a_dataset_deleted_under_an_import_is_made_anew(api, sources):
    versions = [(await api.bring(sources.yolo(4))).version]
    for turn in range(3):
        done = await asyncio.gather(api.bring(sources.yolo(5 + turn)), delete_dataset(api, versions[-1].dataset_id))
        assert done[0].state == import_pb2.IMPORT_STATE_SUCCEEDED, done[0].failure
        found = (
            await api.call(
                api.datasets.ListDatasets, dataset_service_pb2.ListDatasetsRequest(project_id=api.place.project)
            )
        ).datasets
        if not found:
            versions.append((await api.bring(sources.yolo(4))).version)
        else:
            versions.append(done[0].version)


async def test_deletions_splits_and_drafts_at_once_end_in_answers(api, sources):
    """Each call does what it says, or says that the thing is not there (any more)."""
    expected = {NOT_FOUND, PRECONDITION}
    for turn in range(6):
        version = (await api.bring(sources.yolo(4 + turn))).version
        draft = await api.draft(version.dataset_id, base_version_id=version.version_id)
        calls = [
            *(api.split(version.version_id, seed=seed) for seed in range(3)),
            api.upsert(draft.version_id, {"path": "images/00001.jpg", "annotations": REVIEWED}),
            api.commit(draft.version_id),
            api.draft(version.dataset_id, base_version_id=version.version_id),
            api.draft(version.dataset_id, class_names=["x"]),
            delete_version(api, version.version_id),
            delete_dataset(api, version.dataset_id),
        ]
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert {one.code() for one in done if isinstance(one, grpc.aio.AioRpcError)} <= expected
        assert not isinstance(done[-1], Exception)
        assert (await refused_with(api.split(version.version_id)))[0] is NOT_FOUND


async def test_the_source_of_a_deleted_version_can_be_imported_again_under_its_request(api, sources):
    files = sources.yolo(6)
    first = await api.bring(files, request_id="the-source")
    await api.bring(sources.yolo(7))
    await delete_version(api, first.version.version_id)
    again = await api.bring(files, request_id="the-source")
    assert again.import_id != first.import_id
    assert (again.version.number, again.version.digest) == (3, first.version.digest)
    assert (await api.open(request_id="the-source")).import_id == again.import_id
