"""What differs between a draft and a version, or between two versions."""

import pytest
from splitrail.split.v1 import version_pb2, version_service_pb2

from .calls import NOT_FOUND, PRECONDITION, box, listed, refused, sha

pytestmark = pytest.mark.integration


async def test_a_draft_is_compared_with_its_base_and_a_version_with_another(api, cells, sources):
    shown = await api.assets(cells.version_id)
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    assert (await api.diff(draft.version_id)).counts == version_pb2.DifferenceCounts()
    new = sources.picture(700)
    await api.send([new])
    await api.upsert(
        draft.version_id,
        {"path": shown[2].path, "annotations": listed(box(2)), "external_id": "e2"},
        {"external_id": "n", "path": "images/new.jpg", "sha256": sha(new)},
        {"path": shown[3].path, "annotations": listed(*shown[3].annotations)},
    )
    await api.remove(draft.version_id, paths=[shown[5].path, shown[6].path])
    add = version_pb2.ClassChange(add=version_pb2.AddClass(name="disc"))
    rename = version_pb2.ClassChange(rename=version_pb2.RenameClass(class_id=1, name="ring"))
    await api.call(
        api.versions.UpdateClasses,
        version_service_pb2.UpdateClassesRequest(version_id=draft.version_id, changes=[add, rename]),
    )

    async def judged(version_id, **fields):
        found = await api.diff(version_id, include_annotations=True, **fields)
        assert (found.counts.added, found.counts.removed, found.counts.changed) == (1, 2, 1)
        assert {one.field: one.images for one in found.counts.fields} == {
            version_pb2.ASSET_FIELD_ANNOTATIONS: 1,
            version_pb2.ASSET_FIELD_EXTERNAL_ID: 1,
        }
        assert [(one.kind, one.class_id, one.name, one.other_name) for one in found.classes] == [
            (version_pb2.DIFFERENCE_KIND_CHANGED, 1, "ring", "class1"),
            (version_pb2.DIFFERENCE_KIND_ADDED, 3, "disc", ""),
        ]
        assert [(one.asset.path, one.other.path) for one in found.assets] == [
            ("images/new.jpg", ""), ("", shown[5].path), ("", shown[6].path), (shown[2].path, shown[2].path),
        ]  # fmt: skip
        assert not found.assets[0].HasField("other")
        assert found.assets[3].other == shown[2]
        assert [a.class_id for a in found.assets[3].asset.annotations] == [2]
        assert list(found.assets[3].fields) == [
            version_pb2.ASSET_FIELD_EXTERNAL_ID,
            version_pb2.ASSET_FIELD_ANNOTATIONS,
        ]
        seen, token = [], ""
        while True:
            page = await api.diff(version_id, page_size=3, page_token=token, include_annotations=True, **fields)
            seen += page.assets
            if not (token := page.next_page_token):
                break
        assert seen == list(found.assets)
        removed = await api.diff(
            version_id, kind=version_pb2.DIFFERENCE_KIND_REMOVED, include_annotations=True, **fields
        )
        assert list(removed.assets) == list(found.assets[1:3])
        assert removed.counts == found.counts

    await judged(draft.version_id)
    await judged(draft.version_id, other_version_id=cells.version_id)
    version = await api.commit(draft.version_id)
    await judged(version.version_id)
    back = await api.diff(cells.version_id, other_version_id=version.version_id)
    assert (back.counts.added, back.counts.removed, back.counts.changed) == (2, 1, 1)
    everything = await api.diff(cells.version_id)
    assert (everything.counts.added, len(everything.classes)) == (20, 3)
    later = await api.draft(cells.dataset_id, base_version_id=version.version_id)
    await api.remove(later.version_id, external_ids=["n"])
    older = await api.diff(later.version_id, other_version_id=cells.version_id)
    assert (older.counts.added, older.counts.removed, older.counts.changed) == (0, 2, 1)
    state = (PRECONDITION, "VERSION_STATE", ["other_version_id"])
    assert await refused(api.diff(cells.version_id, other_version_id=later.version_id)) == state
    assert (await refused(api.diff(cells.version_id, kind=9)))[2] == ["kind"]
    other = (await api.bring(sources.yolo(3), "others")).version
    assert (await refused(api.diff(cells.version_id, other_version_id=other.version_id)))[0] is NOT_FOUND


async def test_images_are_matched_by_external_id_before_content(api, mine, sources):
    images = [sources.picture(n) for n in range(4)]
    await api.send(images)
    await api.upsert(
        mine.version_id,
        *({"external_id": name, "path": f"{name}.jpg", "sha256": sha(images[n])} for n, name in enumerate("ab")),
    )
    first = await api.commit(mine.version_id)
    draft = await api.draft(mine.dataset_id, base_version_id=first.version_id)
    await api.upsert(
        draft.version_id, {"external_id": "a", "sha256": sha(images[2])}, {"external_id": "b", "path": "c.jpg"}
    )
    for version_id in (draft.version_id, (await api.commit(draft.version_id)).version_id):
        found = await api.diff(version_id)
        assert [(one.asset.external_id, list(one.fields)) for one in found.assets] == [
            ("a", [version_pb2.ASSET_FIELD_CONTENT]),
            ("b", [version_pb2.ASSET_FIELD_PATH]),
        ]
