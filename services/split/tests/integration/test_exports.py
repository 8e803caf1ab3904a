"""Exports: what is in a folder, in which order, for whom, and what is refused."""

import json
from collections import Counter

import grpc
import numpy as np
import pytest
import yaml
from splitrail_common.ids import new_id

from .calls import NOT_FOUND, PRECONDITION, TEST, TRAIN, VAL, invalid, refused
from .exporting import COCO, YOLO, export, messages

pytestmark = pytest.mark.integration


async def test_a_yolo_folder_and_its_lock(api, version):
    split = await api.split(version.version_id)
    exported = await export(api, split_id=split.split_id)
    files = exported.files
    assert (exported.order[0], exported.order[-1]) == ("split.lock.json", "data.yaml")
    assert yaml.safe_load(files["data.yaml"]) == {
        "train": "images/train",
        "val": "images/val",
        "test": "images/test",
        "names": dict(enumerate(version.class_names)),
    }
    counts = Counter(path.split("/")[1] for path in files if path.startswith("images/"))
    assert counts == {"train": 38, "val": 8, "test": 8}
    # Nobody has labelled six images: they are nowhere. Six are reviewed and empty: they have an empty label file.
    assert {
        path.replace("images/", "labels/").replace(".jpg", ".txt") for path in files if path.startswith("images/")
    } == {path for path in files if path.startswith("labels/")}
    assert sum(data == b"" for data in files.values()) == version.empty_count == 6
    lock = json.loads(files["split.lock.json"])
    assert (lock["version"]["reference"], lock["version"]["digest"]) == ("cells@v1", version.digest)
    assert (lock["split"]["reference"], lock["split"]["digest"]) == (split.reference, split.digest)
    assert lock["split"]["part_digests"] == {
        part: getattr(split.part_digests, part) for part in ("train", "val", "test")
    }
    assert (lock["split"]["parameters"]["seed"], lock["split"]["algorithm_version"]) == ("42", split.algorithm_version)
    assert lock["export"] == {"format": "yolo", "images": counts, "include_unlabelled": False}
    assert lock["class_names"] == list(version.class_names)
    assert (await export(api, split_id=split.split_id)).files == files


async def test_single_parts(api, version):
    split = await api.split(version.version_id, (0.8, 0.0, 0.2))
    test = await export(api, version_id=version.version_id, parts=[TEST])
    assert {path.split("/")[1] for path in test.files if "/" in path} == {"test"}
    assert yaml.safe_load(test.files["data.yaml"])["train"] is None
    assert (test.end.part_digests.test, test.end.part_digests.train) == (split.part_digests.test, "")
    both = yaml.safe_load((await export(api, version_id=version.version_id)).files["data.yaml"])
    assert (both["train"], both["val"], both["test"]) == ("images/train", "images/train", "images/test")
    coco = await export(api, version_id=version.version_id, parts=[TRAIN, TEST], format=COCO)
    documents = {path: json.loads(data) for path, data in coco.files.items() if path.startswith("annotations/")}
    assert set(documents) == {"annotations/instances_train.json", "annotations/instances_test.json"}
    for path, document in documents.items():
        assert {image["file_name"] for image in document["images"]} == {
            name for name in coco.files if name.startswith(f"images/{'train' if 'train' in path else 'test'}/")
        }
        assert [category["name"] for category in document["categories"]] == list(version.class_names)
    assert await refused(messages(api, version_id=version.version_id, parts=[TRAIN, VAL])) == (
        PRECONDITION,
        "SPLIT_EMPTY",
        ["parts"],
    )


@pytest.mark.parametrize("format_", [YOLO, COCO])
async def test_crowded_images_come_in_small_messages_and_a_cursor_continues(api, place, version, format_):
    split = await api.split(version.version_id)
    rows = np.arange(1, 4001, dtype="<u4")
    record = b"\x00\x00\x01\x04\x00"
    many = b"\x01" + b"".join(record + np.array([row, 500_000, 2, 2], dtype="<u4").tobytes() for row in rows)
    place.execute("UPDATE version_asset SET annotations = %s WHERE label_state = 3 AND ordinal < 30", many)
    exported = await export(api, split_id=split.split_id, format=format_)
    sizes = [message.ByteSize() for message in exported.messages]
    assert len(sizes) > 4
    assert max(sizes) < 1024 * 1024
    cursors = [message.cursor for message in exported.messages if message.HasField("cursor")]
    assert cursors == sorted(cursors)
    middle = cursors[0]
    rest = await export(api, split_id=split.split_id, format=format_, after_ordinal=middle)
    assert rest.start == exported.start
    assert rest.end == exported.end
    before = next(index for index, message in enumerate(exported.messages) if message.HasField("cursor"))
    sent = {file.path for message in exported.messages[: before + 1] for file in message.files}
    assert set(rest.files) == (set(exported.files) - sent) | {"split.lock.json"}
    assert all(exported.files[path] == data for path, data in rest.files.items())
    beyond = await export(api, split_id=split.split_id, format=format_, after_ordinal=2**31 - 1)
    assert not any(path.startswith("images/") for path in beyond.files)


async def test_requests_that_cannot_be_meant(api, version):
    split = await api.split(version.version_id)
    for fields, expected in [
        ({}, invalid("version_id")),
        ({"version_id": "x"}, invalid("version_id")),
        ({"version_id": version.version_id, "format": 9}, invalid("format")),
        ({"version_id": version.version_id, "parts": [0]}, invalid("parts[0]")),
        ({"version_id": version.version_id, "parts": [7]}, invalid("parts[0]")),
        ({"version_id": new_id()}, (NOT_FOUND, "NOT_FOUND", [])),
        ({"split_id": new_id()}, (NOT_FOUND, "NOT_FOUND", [])),
        ({"split_id": split.split_id, "version_id": new_id()}, (NOT_FOUND, "NOT_FOUND", [])),
        ({"version_id": version.version_id, "dataset_id": new_id()}, (NOT_FOUND, "NOT_FOUND", [])),
    ]:
        assert await refused(messages(api, **fields)) == expected, fields


async def test_who_may_export(api, place, version):
    split = await api.split(version.version_id)
    assert (await export(api.as_user(**{place.project: "viewer"}), version_id=version.version_id)).end.image_count == 54
    for stranger in (api.as_user(elsewhere="admin"), api.as_attempt(split.split_id, "train", "val"), api.as_service()):
        assert (await refused(messages(stranger, split_id=split.split_id)))[0] in (
            NOT_FOUND,
            grpc.StatusCode.PERMISSION_DENIED,
        )


async def test_a_draft_and_kinds_that_a_format_does_not_hold(api, place, version):
    place.execute("UPDATE dataset SET task = 5")
    assert await refused(messages(api, version_id=version.version_id, format=COCO)) == invalid("format")
    draft = await api.draft(version.dataset_id, base_version_id=version.version_id)
    assert (await refused(messages(api, version_id=draft.version_id)))[:2] == (PRECONDITION, "VERSION_STATE")
