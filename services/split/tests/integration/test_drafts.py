"""Drafts over the RPCs: datasets made by callers, contents checked, images changed, and everything wrong named by its
field.
"""

import asyncio
import math

import grpc
import httpx
import pytest
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, split_service_pb2, version_pb2, version_service_pb2
from splitrail_common.ids import new_id

from .calls import EMPTY, LABELLED, NOT_FOUND, PRECONDITION, UNLABELLED, box, columns, invalid, listed, refused, sha

pytestmark = pytest.mark.integration


def as_upsert(asset: dataset_pb2.Asset) -> dict:
    """An image of a version, to be put into a draft."""
    said = (
        {"label_state": UNLABELLED} if asset.label_state == UNLABELLED else {"annotations": listed(*asset.annotations)}
    )
    return {"path": asset.path, "sha256": asset.sha256, **said}


async def test_a_dataset_is_made_once(api):
    fields = {"external_id": "their-7", "labels": {"team": "a"}, "request_id": "r"}
    made = await asyncio.gather(*(api.dataset("mine", **fields) for _ in range(4)))
    assert {one.dataset_id for one in made} == {made[0].dataset_id}
    assert (made[0].name, made[0].task, made[0].external_id, dict(made[0].labels)) == (
        "mine",
        dataset_pb2.TASK_DETECT,
        "their-7",
        {"team": "a"},
    )
    assert made[0].latest_version == 0
    taken = (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
    assert await refused(api.dataset("mine")) == (*taken, ["name"])
    assert await refused(api.dataset("other", external_id="their-7")) == (*taken, ["external_id"])
    assert await refused(api.dataset("other", request_id="r")) == invalid("request_id")
    assert (await api.dataset("other")).external_id == (await api.dataset("third")).external_id == ""


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "a", "external_id": "e" * 257}, "external_id"),
        ({"name": "a", "external_id": "\0"}, "external_id"),
        ({"name": "a", "labels": {"": "x"}}, "labels[]"),
        ({"name": "a", "labels": {"k": "v" * 1025}}, "labels[k]"),
        ({"name": "a", "labels": {str(n): "" for n in range(65)}}, "labels"),
        ({"name": "a", "request_id": "r" * 129}, "request_id"),
        ({"name": "a", "task": 99}, "task"),
    ],
)
async def test_bad_fields_of_a_new_dataset(api, fields, field):
    assert await refused(api.dataset(**fields)) == invalid(field)


async def test_check_says_what_is_missing_and_keeps_what_is_there(api, place, cells, sources):
    known, staged, missing = sources.picture(1), sources.picture(101), sources.picture(102)
    await api.upload(await api.check([staged]), {"": staged})
    assert [one.sha256 for one in await api.check([known, staged, missing])] == [sha(missing)]
    held = place.execute("SELECT encode(sha256, 'hex') FROM content_hold WHERE until > now() + interval '110 minutes'")
    assert {one for (one,) in held} == {sha(known), sha(staged), sha(missing)}
    short = version_pb2.AssetContent(sha256=sha(staged), size_bytes=len(staged) - 1)
    request = version_service_pb2.CheckAssetsRequest(project_id=place.project, contents=[short])
    assert [one.sha256 for one in (await api.call(api.versions.CheckAssets, request)).uploads] == [sha(staged)]


@pytest.mark.parametrize(
    ("contents", "fields"),
    [
        ([], ["contents"]),
        ([("x", 1)], ["contents[0].sha256"]),
        ([("A" * 64, 1)], ["contents[0].sha256"]),
        ([("a" * 64, 0), ("b" * 64, -1)], ["contents[0].size_bytes", "contents[1].size_bytes"]),
        ([("a" * 64, 1), ("b" * 64, 1 << 40)], ["contents[1].size_bytes"]),
        ([("a" * 64, 1), ("a" * 64, 2)], ["contents[1].size_bytes"]),
        ([("a" * 64, 1)] * 1001, ["contents"]),
    ],
)
async def test_contents_that_are_none(api, contents, fields):
    given = [version_pb2.AssetContent(sha256=sha256, size_bytes=size) for sha256, size in contents]
    request = version_service_pb2.CheckAssetsRequest(project_id=api.place.project, contents=given)
    assert await refused(api.call(api.versions.CheckAssets, request)) == invalid(*fields)


async def test_a_draft_that_rebuilds_a_dataset_has_the_digest_of_its_import(api, place, cells):
    shown = await api.assets(cells.version_id)
    made = await api.dataset("again")
    draft = await api.draft(made.dataset_id, class_names=cells.class_names)
    for start in range(0, 20, 7):
        await api.upsert(draft.version_id, *(as_upsert(one) for one in reversed(shown[start : start + 7])))
    version = await api.commit(draft.version_id)
    assert version.version_id == draft.version_id
    assert (version.digest, version.number, version.state) == (cells.digest, 1, dataset_pb2.VERSION_STATE_COMMITTED)
    for name in (
        "image_count",
        "object_count",
        "empty_count",
        "unlabelled_count",
        "class_counts",
        "class_names",
        "class_ids",
    ):
        assert getattr(version, name) == getattr(cells, name), name
    assert [as_upsert(one) for one in await api.assets(version.version_id)] == [as_upsert(one) for one in shown]
    # Packed columns are those of the import too.
    assert columns(place, version.version_id) == columns(place, cells.version_id)
    assert (await api.split(version.version_id)).digest == (await api.split(cells.version_id)).digest


async def test_annotations_alone_change_without_bytes(api, place, cells):
    before = place.execute("SELECT encode(sha256, 'hex'), create_time FROM asset ORDER BY sha256"), place.stored()
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    assert (draft.number, draft.digest, draft.base_version_id, draft.image_count) == (0, "", cells.version_id, 20)
    assert place.execute("SELECT count(*) FROM draft_asset") == [(0,)]
    shown = await api.assets(cells.version_id)
    paths = [one.path for one in shown]
    done = await api.upsert(
        draft.version_id,
        {"path": paths[0], "annotations": listed(box(1), box(2, 0.3))},
        {"path": paths[1], "annotations": listed()},
        {"path": paths[2], "label_state": UNLABELLED},
        {"path": paths[3], "metadata": version_pb2.AssetMetadata(entries={"site": "x"})},
        {"path": paths[4], "external_id": "theirs"},
        {"path": paths[5], "annotations": listed(*shown[5].annotations)},
    )
    assert (done.added_count, done.changed_count, done.unchanged_count) == (0, 5, 1)
    assert place.execute("SELECT count(*) FROM draft_asset") == [(5,)]
    version = await api.commit(draft.version_id)
    assert (version.number, version.base_version_id) == (2, cells.version_id)
    now = await api.assets(version.version_id)
    assert [one.path for one in now] == paths
    assert [(a.class_id, a.box.center_x) for a in now[0].annotations] == [(1, 0.5), (2, 0.3)]
    assert [one.label_state for one in now[:3]] == [LABELLED, EMPTY, UNLABELLED]
    assert (dict(now[3].metadata), now[4].external_id) == ({"site": "x"}, "theirs")
    assert now[5:] == shown[5:]
    for name in ("image_count", "object_count", "empty_count", "unlabelled_count", "class_counts"):
        assert getattr(version, name) == getattr(done.version, name), name
    assert (
        place.execute("SELECT encode(sha256, 'hex'), create_time FROM asset ORDER BY sha256"),
        place.stored(),
    ) == before


async def test_images_come_go_and_are_replaced(api, place, cells, sources):
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    new, other = sources.picture(501), sources.picture(502, (80, 40))
    await api.send([new, other])
    paths = [one.path for one in await api.assets(cells.version_id)]
    added = {"external_id": "e1", "sha256": sha(new), "annotations": listed(box(0))}
    replaced = {"path": paths[7], "sha256": sha(other)}
    done = await api.upsert(draft.version_id, added, replaced)
    assert (done.added_count, done.changed_count, done.version.image_count) == (1, 1, 21)
    assert (await api.upsert(draft.version_id, added, replaced)).unchanged_count == 2
    gone = await api.remove(draft.version_id, paths=[paths[0], "images/absent.jpg"], external_ids=["nobody"])
    assert (gone.deleted_count, gone.version.image_count) == (1, 20)
    assert (await api.remove(draft.version_id, paths=[paths[0]])).deleted_count == 0
    moved = await api.upsert(draft.version_id, {"external_id": "e1", "path": "images/new.jpg"})
    assert moved.changed_count == 1
    await api.remove(draft.version_id, paths=[paths[1]])
    back = await api.upsert(
        draft.version_id, {"path": paths[1], "sha256": sha(sources.picture(1)), "label_state": UNLABELLED}
    )
    assert (back.added_count, back.version.image_count) == (1, 20)
    version = await api.commit(draft.version_id)
    now = await api.assets(version.version_id)
    assert [one.ordinal for one in now] == list(range(20))
    assert [one.path for one in now] == [*paths[2:], paths[1], "images/new.jpg"]
    by_path = {one.path: one for one in now}
    assert (by_path["images/new.jpg"].external_id, by_path["images/new.jpg"].sha256) == ("e1", sha(new))
    assert (by_path[paths[7]].sha256, by_path[paths[7]].width, by_path[paths[7]].size_bytes) == (
        sha(other),
        80,
        len(other),
    )
    assert len(by_path[paths[7]].annotations) > 0
    # The packed columns agree with the rows: filters read the ones, pages show the others.
    for class_name in version.class_names:
        request = dataset_service_pb2.ListAssetsRequest(
            dataset_id=version.dataset_id, class_name=class_name, page_size=1000
        )
        position = list(version.class_names).index(class_name)
        found = {one.path for one in (await api.call(api.datasets.ListAssets, request)).assets}
        assert found == {one.path for one in now if any(a.class_id == position for a in one.annotations)}
    made = await api.split(version.version_id)
    assert sum(part.images for part in made.certificate.parts) == version.image_count - version.unlabelled_count
    await place.unstaged()


async def test_a_new_image_without_a_path_gets_one(api, mine, sources):
    data = sources.picture(1)
    await api.send([data])
    await api.upsert(mine.version_id, {"external_id": "e", "sha256": sha(data)})
    version = await api.commit(mine.version_id)
    assert [(one.path, one.external_id, one.label_state) for one in await api.assets(version.version_id)] == [
        (f"{sha(data)}.jpg", "e", UNLABELLED)
    ]


async def test_the_same_batch_sent_at_once_counts_once(api, mine, sources):
    images = [sources.picture(n) for n in range(6)]
    await api.send(images)
    batch = [
        {"external_id": str(n), "sha256": sha(data), "annotations": listed(box(n % 2))} for n, data in enumerate(images)
    ]
    done = await asyncio.gather(*(api.upsert(mine.version_id, *batch) for _ in range(5)))
    assert sorted(one.added_count for one in done) == [0, 0, 0, 0, 6]
    assert sorted(one.unchanged_count for one in done) == [0, 6, 6, 6, 6]
    version = await api.commit(mine.version_id)
    assert (version.image_count, [one.objects for one in version.class_counts]) == (6, [3, 3])


@pytest.mark.parametrize(
    ("asset", "field"),
    [
        ({}, "assets[0].external_id"),
        ({"external_id": "e" * 257}, "assets[0].external_id"),
        ({"external_id": "new"}, "assets[0].sha256"),
        ({"path": "new.jpg"}, "assets[0].sha256"),
        ({"path": "../a.jpg"}, "assets[0].path"),
        ({"path": "a.txt"}, "assets[0].path"),
        ({"path": "a.exe"}, "assets[0].path"),
        ({"external_id": "e", "sha256": "xyz"}, "assets[0].sha256"),
        ({"external_id": "e", "label_state": 9}, "assets[0].label_state"),
        ({"external_id": "e", "label_state": EMPTY, "annotations": listed(box())}, "assets[0].label_state"),
        ({"external_id": "e", "label_state": LABELLED, "annotations": listed()}, "assets[0].label_state"),
        ({"external_id": "e", "annotations": listed(box(2))}, "assets[0].annotations.items[0].class_id"),
        ({"external_id": "e", "annotations": listed(box(), box(x=math.nan))}, "assets[0].annotations.items[1].box"),
        ({"external_id": "e", "annotations": listed(box(w=0))}, "assets[0].annotations.items[0].box"),
        ({"external_id": "e", "annotations": listed(box(x=1.5))}, "assets[0].annotations.items[0].box"),
        ({"external_id": "e", "annotations": listed(box(x=0.95))}, "assets[0].annotations.items[0].box"),
        ({"external_id": "e", "annotations": listed(box(), box())}, "assets[0].annotations.items[1]"),
        (
            {"external_id": "e", "annotations": listed(dataset_pb2.Annotation(class_id=0))},
            "assets[0].annotations.items[0].shape",
        ),
        ({"external_id": "e", "annotations": listed(*[box()] * 10_001)}, "assets[0].annotations.items"),
        (
            {"external_id": "e", "metadata": version_pb2.AssetMetadata(entries={"k": "\0"})},
            "assets[0].metadata.entries[k]",
        ),
        (
            {"external_id": "e", "metadata": version_pb2.AssetMetadata(entries={"k" * 129: ""})},
            f"assets[0].metadata.entries[{'k' * 100}]",
        ),
    ],
)
async def test_entries_that_are_wrong_are_named(api, place, mine, asset, field):
    assert await refused(api.upsert(mine.version_id, asset)) == invalid(field)
    assert place.execute("SELECT 1 FROM draft_asset") == []


async def test_nothing_of_a_batch_with_a_wrong_entry_is_kept(api, place, mine, sources):
    images = [sources.picture(n) for n in range(4)]
    await api.send(images)
    good = [{"external_id": str(n), "sha256": sha(data)} for n, data in enumerate(images)]
    for wrong, field in [
        ({"external_id": "4", "sha256": sha(images[0])}, "assets[4].sha256"),
        ({"external_id": "3"}, "assets[4].sha256"),
        ({"external_id": "3", "sha256": sha(sources.picture(9))}, "assets[4].sha256"),
    ]:
        assert (await refused(api.upsert(mine.version_id, *good, wrong)))[2] == [field]
        assert place.execute("SELECT 1 FROM draft_asset") == []
    await api.upsert(mine.version_id, *good)
    assert (await refused(api.upsert(mine.version_id, {"external_id": "1", "sha256": sha(images[2])})))[2] == [
        "assets[0].sha256"
    ]
    assert (await refused(api.upsert(mine.version_id)))[2] == ["assets"]
    assert (await refused(api.upsert(mine.version_id, *[{"external_id": "x"}] * 1001)))[2] == ["assets"]
    assert (await refused(api.remove(mine.version_id)))[2] == ["paths"]


async def test_contents_are_judged_there_and_then(api, place, mine, sources):
    forged, text, good = sources.picture(1), b"not an image", sources.picture(3)
    uploads = {one.sha256: one for one in await api.check([forged, text, good])}
    await api.upload([uploads[sha(text)], uploads[sha(good)]], {"a": text, "b": good})
    other = sources.picture(2)
    async with httpx.AsyncClient(trust_env=False) as client:
        (await client.put(uploads[sha(forged)].url, content=other)).raise_for_status()
    assets = [
        {"external_id": name, "sha256": sha(data)}
        for name, data in [("forged", forged), ("good", good), ("text", text)]
    ]
    assert await refused(api.upsert(mine.version_id, *assets)) == invalid("assets[0].sha256", "assets[2].sha256")
    assert place.execute("SELECT 1 FROM draft_asset") == []
    # The wrong bytes are gone, so that the right ones can be sent; the good ones need not be sent again.
    assert await refused(api.upsert(mine.version_id, *assets[:2])) == (
        PRECONDITION,
        "UPLOAD_MISSING",
        ["assets[0].sha256"],
    )
    assert {one.sha256 for one in await api.check([forged, good])} == {sha(forged)}
    await api.send([forged])
    assert (await api.upsert(mine.version_id, *assets[:2])).added_count == 2


async def test_a_request_id_begins_one_draft(api, cells):
    fields = {"base_version_id": cells.version_id, "request_id": "r"}
    drafts = await asyncio.gather(*(api.draft(cells.dataset_id, **fields) for _ in range(4)))
    assert {one.version_id for one in drafts} == {drafts[0].version_id}
    assert (await refused(api.draft(cells.dataset_id, request_id="r")))[2] == ["request_id"]
    named = await api.draft(cells.dataset_id, class_names=["a", "b"], request_id="named")
    assert (
        await api.draft(cells.dataset_id, class_names=["a", "b"], request_id="named")
    ).version_id == named.version_id
    assert await refused(api.draft(cells.dataset_id, class_names=["a"], request_id="named")) == invalid("request_id")
    await api.upsert(drafts[0].version_id, {"path": "images/00001.jpg", "annotations": listed()})
    version = await api.commit(drafts[0].version_id)
    assert (await api.draft(cells.dataset_id, **fields)).digest == version.digest


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"base_version_id": "x"}, "base_version_id"),
        ({"class_names": ["a", "b", "a"]}, "class_names[2]"),
        ({"class_names": ["a", ""]}, "class_names[1]"),
        ({"class_names": ["a", "a "]}, "class_names[1]"),
        ({"class_names": ["a" * 257]}, "class_names[0]"),
        ({"base_version_id": "018f0000-0000-7000-8000-000000000000", "class_names": ["a"]}, "class_names"),
    ],
)
async def test_bad_fields_of_a_new_draft(api, mine, fields, field):
    assert await refused(api.draft(mine.dataset_id, **fields)) == invalid(field)


async def test_drafts_are_listed_and_are_no_versions_yet(api, cells):
    drafts = [await api.draft(cells.dataset_id, base_version_id=cells.version_id) for _ in range(3)]
    request = version_service_pb2.ListDraftsRequest(dataset_id=cells.dataset_id, page_size=2)
    page = await api.call(api.versions.ListDrafts, request)
    request.page_token = page.next_page_token
    rest = await api.call(api.versions.ListDrafts, request)
    assert [one.version.version_id for one in [*page.drafts, *rest.drafts]] == [
        one.version_id for one in reversed(drafts)
    ]
    assert [one.name for one in page.drafts[0].classes] == list(cells.class_names)
    versions = await api.call(
        api.datasets.ListVersions, dataset_service_pb2.ListVersionsRequest(dataset_id=cells.dataset_id)
    )
    assert [one.version_id for one in versions.versions] == [cells.version_id]
    found = await api.call(
        api.datasets.GetVersion, dataset_service_pb2.GetVersionRequest(version_id=drafts[0].version_id)
    )
    assert found.version == drafts[0]
    assert found.version.state == dataset_pb2.VERSION_STATE_DRAFT
    state = (PRECONDITION, "VERSION_STATE", ["version_id"])
    listing = dataset_service_pb2.ListAssetsRequest(dataset_id=cells.dataset_id, version_id=drafts[0].version_id)
    assert await refused(api.call(api.datasets.ListAssets, listing)) == state
    assert await refused(api.split(drafts[0].version_id)) == state
    current = split_service_pb2.GetSplitRequest(dataset_id=cells.dataset_id, version_id=drafts[0].version_id)
    assert (await refused(api.call(api.splits.GetSplit, current)))[1] == "SPLIT_MISSING"
    assert await refused(api.draft(cells.dataset_id, base_version_id=drafts[0].version_id)) == (
        PRECONDITION,
        "VERSION_STATE",
        ["base_version_id"],
    )
    other = await api.dataset()
    assert (await refused(api.draft(other.dataset_id, base_version_id=cells.version_id)))[0] is NOT_FOUND
    assert (await refused(api.upsert(new_id(), {"path": "a.jpg"})))[0] is NOT_FOUND


def polygon(*points: tuple[float, float]) -> dataset_pb2.Annotation:
    return dataset_pb2.Annotation(polygon=dataset_pb2.Polygon(points=[dataset_pb2.Point(x=x, y=y) for x, y in points]))


def corners(*points: tuple[float, float]) -> dataset_pb2.Annotation:
    return dataset_pb2.Annotation(
        oriented_box=dataset_pb2.OrientedBox(corners=[dataset_pb2.Point(x=x, y=y) for x, y in points])
    )


def pose(*points: tuple[float, float, int]) -> dataset_pb2.Annotation:
    made = [dataset_pb2.Keypoint(point=dataset_pb2.Point(x=x, y=y), visibility=seen) for x, y, seen in points]
    return dataset_pb2.Annotation(keypoints=dataset_pb2.Keypoints(box=box().box, points=made))


SQUARE = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))


@pytest.mark.parametrize(
    ("task", "good", "bad"),
    [
        (dataset_pb2.TASK_SEGMENT, polygon(*SQUARE), {"polygon": polygon(*SQUARE[:2]), "box": box()}),
        (dataset_pb2.TASK_OBB, corners(*SQUARE), {"oriented_box": corners(*SQUARE[:3]), "polygon": polygon(*SQUARE)}),
        (
            dataset_pb2.TASK_POSE,
            pose((0.5, 0.5, 3), (0.25, 0.5, 2), (0, 0, 1)),
            {"keypoints": pose((0.5, 0.5, 0)), "": pose((0.5, 0.5, 3), (0.25, 0.5, 2))},
        ),
        (dataset_pb2.TASK_CLASSIFY, dataset_pb2.Annotation(class_id=1), {"box": box()}),
    ],
)
async def test_shapes_of_every_task(api, sources, task, good, bad):
    made = await api.dataset(task=task)
    draft = await api.draft(made.dataset_id, class_names=["a", "b"])
    images = [sources.picture(n) for n in range(2)]
    await api.send(images)
    await api.upsert(draft.version_id, {"path": "0.jpg", "sha256": sha(images[0]), "annotations": listed(good)})
    for field, one in bad.items():
        call = api.upsert(draft.version_id, {"path": "1.jpg", "sha256": sha(images[1]), "annotations": listed(one)})
        wanted = f"assets[0].annotations.items[0].{field}" if field else "assets[0].annotations"
        assert await refused(call) == invalid(wanted)
    if task == dataset_pb2.TASK_CLASSIFY:
        call = api.upsert(draft.version_id, {"path": "0.jpg", "annotations": listed(good, dataset_pb2.Annotation())})
        assert (await refused(call))[2] == ["assets[0].annotations.items"]
    version = await api.commit(draft.version_id)
    (asset,) = await api.assets(version.version_id)
    assert list(asset.annotations) == [good]
    # What comes out can go in again and is the same.
    again = await api.draft(made.dataset_id, base_version_id=version.version_id)
    assert (
        await api.upsert(again.version_id, {"path": "0.jpg", "annotations": listed(*asset.annotations)})
    ).unchanged_count == 1


async def test_another_projects_drafts_are_not_found(api, mine, sources):
    data = sources.picture(1)
    await api.send([data])
    await api.upsert(mine.version_id, {"external_id": "e", "sha256": sha(data)})
    stranger = api.as_user(elsewhere="admin")
    ids = {"dataset_id": mine.dataset_id, "version_id": mine.version_id}
    v = version_service_pb2
    calls = [
        stranger.upsert(mine.version_id, {"external_id": "e"}),
        stranger.remove(mine.version_id, external_ids=["e"]),
        stranger.commit(mine.version_id),
        stranger.diff(mine.version_id),
        stranger.draft(mine.dataset_id),
        stranger.call(api.versions.UpdateClasses, v.UpdateClassesRequest(**ids, changes=[{"add": {"name": "x"}}])),
        stranger.call(api.versions.ListDrafts, v.ListDraftsRequest(dataset_id=mine.dataset_id)),
        stranger.call(api.versions.DeleteDraft, v.DeleteDraftRequest(**ids)),
        stranger.call(api.versions.DeleteVersion, v.DeleteVersionRequest(**ids)),
        stranger.call(api.datasets.GetVersion, dataset_service_pb2.GetVersionRequest(**ids)),
        stranger.check([data]),
        stranger.dataset("theirs"),
    ]
    assert {(await refused(one))[0] for one in calls} == {NOT_FOUND}
    other = await api.dataset("other")
    request = v.UpsertAssetsRequest(
        dataset_id=other.dataset_id, version_id=mine.version_id, assets=[{"external_id": "e"}]
    )
    assert (await refused(api.call(api.versions.UpsertAssets, request)))[0] is NOT_FOUND
    for page_token in ("x", "WyJhIl0", "WzE4NDQ2NzQ0MDczNzA5NTUxNjE2XQ"):
        assert (await refused(api.diff(mine.version_id, page_token=page_token)))[2] == ["page_token"]
        request = v.ListDraftsRequest(dataset_id=mine.dataset_id, page_token=page_token)
        assert (await refused(api.call(api.versions.ListDrafts, request)))[2] == ["page_token"]
