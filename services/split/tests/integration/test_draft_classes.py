"""Classes of a draft: renamed, merged and added, and what then counts as changed."""

import grpc
import pytest
from splitrail.split.v1 import dataset_pb2, version_pb2, version_service_pb2

from .calls import box, columns, invalid, listed, refused

pytestmark = pytest.mark.integration


async def test_classes_are_renamed_merged_and_added(api, place, cells, sources):
    """As if the source had had the classes like this from the start."""
    assert list(cells.class_ids) == [0, 1, 2]
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    await api.upsert(
        draft.version_id, {"path": "images/00001.jpg", "annotations": listed(box(1), box(2, 0.3), box(0, 0.3))}
    )
    changes = [
        version_pb2.ClassChange(rename=version_pb2.RenameClass(class_id=1, name="ring")),
        version_pb2.ClassChange(merge=version_pb2.MergeClass(class_id=0, into_class_id=2)),
        version_pb2.ClassChange(add=version_pb2.AddClass(name="disc")),
    ]
    request = version_service_pb2.UpdateClassesRequest(version_id=draft.version_id, changes=changes)
    for _ in range(2):
        done = await api.call(api.versions.UpdateClasses, request)
        assert [(one.class_id, one.name, one.merged_into_class_id if one.HasField("merged_into_class_id") else None) for one in done.classes] == [
            (0, "class0", 2), (1, "ring", None), (2, "class2", None), (3, "disc", None),
        ]  # fmt: skip
    assert list(done.version.class_names) == ["class0", "ring", "class2", "disc"]
    # Positions hold until the commit; a merged class can still be named.
    await api.upsert(draft.version_id, {"path": "images/00002.jpg", "annotations": listed(box(3), box(0, 0.4))})
    version = await api.commit(draft.version_id)
    assert (list(version.class_names), list(version.class_ids)) == (["ring", "class2", "disc"], [1, 2, 3])
    files = sources.yolo(20)
    files["data.yaml"] = b"names: [ring, class2, disc]"
    for path, data in files.items():
        if path.startswith("labels/"):
            rows = [line.split(" ", 1) for line in data.decode().splitlines()]
            files[path] = "".join(f"{ {'0': 1, '1': 0, '2': 1}[one] } {rest}\n" for one, rest in rows).encode()
    files["labels/00001.txt"] = b"0 0.5 0.5 0.2 0.2\n1 0.3 0.5 0.2 0.2\n"  # equal after the merge: once
    files["labels/00002.txt"] = b"2 0.5 0.5 0.2 0.2\n1 0.4 0.5 0.2 0.2\n"
    imported = (await api.bring(files, "expected")).version
    assert (version.digest, version.class_counts) == (imported.digest, imported.class_counts)
    assert columns(place, version.version_id) == columns(place, imported.version_id)
    # An import into the dataset knows the classes by the names that they ever had.
    later = (await api.bring(sources.yolo(21, classes=4))).version
    assert (list(later.class_names), list(later.class_ids)) == (["class0", "class1", "class2", "class3"], [0, 1, 2, 4])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({}, "changes[0]"),
        ({"add": {"name": ""}}, "changes[0].add.name"),
        ({"add": {"name": "a\nb"}}, "changes[0].add.name"),
        ({"rename": {"name": "x"}}, "changes[0].rename.class_id"),
        ({"rename": {"class_id": 0, "name": "bus"}}, "changes[0].rename.name"),
        ({"rename": {"class_id": 9, "name": "x"}}, "changes[0].rename.class_id"),
        ({"merge": {"class_id": 0}}, "changes[0].merge.into_class_id"),
        ({"merge": {"class_id": 0, "into_class_id": 0}}, "changes[0].merge.into_class_id"),
    ],
)
async def test_changes_to_classes_that_are_wrong(api, mine, change, field):
    request = version_service_pb2.UpdateClassesRequest(
        version_id=mine.version_id, changes=[version_pb2.ClassChange(**change)]
    )
    assert await refused(api.call(api.versions.UpdateClasses, request)) == invalid(field)


async def test_classes_that_move_change_no_image_but_those_whose_class_is_another(api, cells):
    """Twenty images of class0 to class2: positions move when class0 is merged, are exchanged, and come to mean
    something else.
    """
    before = await api.assets(cells.version_id)
    draft = await api.draft(cells.dataset_id, base_version_id=cells.version_id)
    changes = [
        version_pb2.ClassChange(merge=version_pb2.MergeClass(class_id=0, into_class_id=2)),
        version_pb2.ClassChange(rename=version_pb2.RenameClass(class_id=1, name="ring")),
    ]
    await api.call(
        api.versions.UpdateClasses,
        version_service_pb2.UpdateClassesRequest(version_id=draft.version_id, changes=changes),
    )
    # class1 comes where class0 was: equal bytes, another class.
    zero = next(one for one in before if [item.class_id for item in one.annotations] == [0])
    alike = listed(*(dataset_pb2.Annotation(class_id=1, box=item.box) for item in zero.annotations))
    await api.upsert(draft.version_id, {"path": zero.path, "annotations": alike})
    version = await api.commit(draft.version_id)
    assert list(version.class_ids) == [1, 2]
    merged = {one.path for one in before if any(item.class_id == 0 for item in one.annotations)}
    assert zero.path in merged
    assert 0 < len(merged) < sum(bool(one.annotations) for one in before)
    for ours, theirs in ((version, cells), (cells, version)):
        found = await api.diff(ours.version_id, other_version_id=theirs.version_id, page_size=1000)
        assert (found.counts.added, found.counts.removed, found.counts.changed) == (0, 0, len(merged))
        assert {one.asset.path for one in found.assets} == merged
        assert {tuple(one.fields) for one in found.assets} == {(version_pb2.ASSET_FIELD_ANNOTATIONS,)}
    # A draft of the new version against the old one: what it has itself, and what it has not touched.
    later = await api.draft(cells.dataset_id, base_version_id=version.version_id)
    same = next(one for one in before if one.path not in merged and one.annotations)
    await api.upsert(later.version_id, {"path": same.path, "metadata": {"entries": {"site": "x"}}})
    found = await api.diff(later.version_id, other_version_id=cells.version_id, page_size=1000)
    assert {one.asset.path: list(one.fields) for one in found.assets} == {
        **{path: [version_pb2.ASSET_FIELD_ANNOTATIONS] for path in merged},
        same.path: [version_pb2.ASSET_FIELD_METADATA],
    }
    # Whoever expected the old version is told the same.
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await api.commit(later.version_id, expected=cells.version_id)
    assert f"0 images were added, 0 removed, {len(merged)} changed" in raised.value.details()
