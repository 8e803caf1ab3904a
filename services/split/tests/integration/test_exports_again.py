"""What is exported and imported again is the same, byte for byte of what digests cover."""

import json

import pytest
import yaml
from splitrail.split.v1 import dataset_pb2, import_pb2

from .calls import PRECONDITION, TEST, TRAIN, refused
from .exporting import CLASSES, COCO, YOLO, classified, current_split, export, hostile, messages, names_of_images

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("format_", [YOLO, COCO])
@pytest.mark.parametrize("source", ["plain", "hostile"])
async def test_an_export_imported_again_has_the_same_digests(api, sources, format_, source):
    brought = await api.bring(sources.yolo(60) if source == "plain" else hostile(sources))
    version = brought.version
    assert (version.unlabelled_count > 0, version.empty_count > 0) == (True, True), brought
    split = await api.split(version.version_id, (0.5, 0.25, 0.25))
    exported = await export(
        api, dataset_id=version.dataset_id, version_id=version.version_id, format=format_, include_unlabelled=True
    )
    assert (exported.start.reference, exported.start.split_id) == (split.reference, split.split_id)
    assert (exported.end.version_digest, exported.end.split_digest, exported.end.part_digests) == (
        version.digest,
        split.digest,
        split.part_digests,
    )
    assert (exported.end.image_count, exported.end.file_count) == (version.image_count, len(exported.files))
    again = await api.bring(exported.files, "again", strict=True)
    assert (again.state, again.failure) == (import_pb2.IMPORT_STATE_SUCCEEDED, "")
    assert again.format == (import_pb2.SOURCE_FORMAT_YOLO if format_ == YOLO else import_pb2.SOURCE_FORMAT_COCO)
    assert (again.version.digest, list(again.version.class_names)) == (version.digest, list(version.class_names))
    imported = await current_split(api, again.version)
    assert (imported.digest, imported.part_digests) == (split.digest, split.part_digests)
    twice = await export(api, version_id=again.version.version_id, format=format_, include_unlabelled=True)
    assert names_of_images(twice) == names_of_images(exported)


async def test_a_tree_of_classes_imported_again_has_the_same_digests(api, sources):
    version = await classified(api, sources)
    assert (version.empty_count, version.unlabelled_count, list(version.class_names)) == (4, 4, CLASSES)
    unsplit = await export(api, version_id=version.version_id, include_unlabelled=True)
    assert {path.split("/")[0] for path in unsplit.files if "/" in path} == {"train", "val", "images", "labels"}
    again = await api.bring(unsplit.files, "unsplit", task=dataset_pb2.TASK_CLASSIFY, strict=True)
    assert (again.version.digest, again.version.current_split_id, again.note_count) == (version.digest, "", 0)

    split = await api.split(version.version_id, (0.5, 0.25, 0.25))
    exported = await export(api, version_id=version.version_id, include_unlabelled=True)
    assert (exported.order[0], exported.order[-1]) == ("split.lock.json", "class_folders.json")
    assert (exported.end.image_count, exported.end.file_count) == (version.image_count, len(exported.files))
    folders = [one["folder"] for one in json.loads(exported.files["class_folders.json"])["classes"]]
    assert {path.split("/")[1] for path in exported.files if path.startswith("train/")} == set(folders)
    again = await api.bring(exported.files, "again", task=dataset_pb2.TASK_CLASSIFY, strict=True)
    assert (again.version.digest, list(again.version.class_names), again.problem_count) == (version.digest, CLASSES, 0)
    imported = await current_split(api, again.version)
    assert (imported.digest, imported.part_digests) == (split.digest, split.part_digests)
    twice = await export(api, version_id=again.version.version_id, include_unlabelled=True)
    assert names_of_images(twice) == names_of_images(exported)
    test = await export(api, version_id=version.version_id, parts=[TEST])
    assert {path.split("/")[-1] for path in test.files if path.startswith(("train/", "val/"))} == {".gitkeep"}


async def test_oriented_boxes_as_coco_imported_again_have_the_same_digests(api, sources):
    files = {"data.yaml": b"names: [a, b]"}
    for number in range(12):
        files[f"images/{number}.jpg"] = sources.picture(number)
        files[f"labels/{number}.txt"] = (
            f"{number % 2} 0.1 0.2 0.31234{number} 0.1 0.4 0.3 0.2 0.4\n".encode() if number % 4 else b""
        )
    version = (await api.bring(files, task=dataset_pb2.TASK_OBB)).version
    split = await api.split(version.version_id, (0.5, 0.25, 0.25))
    for format_ in (YOLO, COCO):
        exported = await export(api, version_id=version.version_id, format=format_)
        again = await api.bring(exported.files, f"again{format_}", task=dataset_pb2.TASK_OBB, strict=True)
        assert (again.version.digest, (await current_split(api, again.version)).digest) == (
            version.digest,
            split.digest,
        )


async def test_what_a_mirrored_pose_exchanges_is_kept(api, sources):
    def pose(extra):
        row = b"0 0.5 0.5 0.2 0.2 0.4 0.5 2 0.6 0.6 1 0.5 0.5 2\n"
        files = {"data.yaml": f"names: [person]\nkpt_shape: [3, 3]\n{extra}".encode()}
        return (
            files
            | {f"images/{n}.jpg": sources.picture(n) for n in range(3)}
            | {f"labels/{n}.txt": row for n in range(3)}
        )

    plain = (await api.bring(pose(""), "plain", task=dataset_pb2.TASK_POSE)).version
    version = (await api.bring(pose("flip_idx: [1, 0, 2]"), task=dataset_pb2.TASK_POSE)).version
    assert (list(version.flip_idx), list(plain.flip_idx), version.digest) == ([1, 0, 2], [], plain.digest)
    exported = await export(api, version_id=version.version_id)
    assert yaml.safe_load(exported.files["data.yaml"])["flip_idx"] == [1, 0, 2]
    assert "flip_idx" not in yaml.safe_load((await export(api, version_id=plain.version_id)).files["data.yaml"])
    again = (await api.bring(exported.files, "again", task=dataset_pb2.TASK_POSE, strict=True)).version
    assert (again.digest, list(again.flip_idx)) == (version.digest, [1, 0, 2])
    # A version that a draft becomes has it from its base.
    draft = await api.draft(version.dataset_id, base_version_id=version.version_id)
    await api.remove(draft.version_id, paths=["images/1.jpg"])
    assert list((await api.commit(draft.version_id)).flip_idx) == [1, 0, 2]
    wrong = await api.bring(pose("flip_idx: [1, 1, 2]"), "wrong", task=dataset_pb2.TASK_POSE)
    assert [(one.path, one.line, one.code) for one in wrong.problems] == [("data.yaml", 3, "keypoint_flip")]
    assert list(wrong.version.flip_idx) == []


@pytest.mark.parametrize("format_", [YOLO, COCO])
async def test_a_version_without_split(api, version, format_):
    exported = await export(api, version_id=version.version_id, format=format_)
    assert {path.split("/")[1] for path in exported.files if path.startswith("images/")} == {"all"}
    assert (exported.start.reference, exported.start.split_id, exported.end.split_digest) == ("cells@v1", "", "")
    if format_ == YOLO:
        data = yaml.safe_load(exported.files["data.yaml"])
        assert (data["train"], data["val"], "test" in data) == ("images/all", "images/all", False)
    whole = await export(api, version_id=version.version_id, format=format_, include_unlabelled=True)
    assert sum(path.startswith("images/unassigned/") for path in whole.files) == version.unlabelled_count
    again = await api.bring(whole.files, "again", strict=True)
    assert again.version.digest == version.digest
    # nothing in the folder said how to split it
    assert (await refused(current_split(api, again.version)))[:2] == (PRECONDITION, "SPLIT_MISSING")
    assert (await refused(messages(api, version_id=version.version_id, parts=[TRAIN])))[:2] == (
        PRECONDITION,
        "SPLIT_MISSING",
    )


async def test_a_version_that_nobody_has_labelled(api, sources):
    version = (
        await api.bring({**{f"images/{n}.jpg": sources.picture(n) for n in range(4)}, "data.yaml": b"names: [a]"})
    ).version
    assert await refused(messages(api, version_id=version.version_id)) == (PRECONDITION, "SPLIT_EMPTY", ["version_id"])
    for format_ in (YOLO, COCO):
        exported = await export(api, version_id=version.version_id, format=format_, include_unlabelled=True)
        again = await api.bring(exported.files, f"again{format_}", strict=True)
        assert again.version.digest == version.digest
