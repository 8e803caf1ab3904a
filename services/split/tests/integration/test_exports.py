"""What is exported and imported again is the same, byte for byte of what digests cover; and Ultralytics takes it as it is."""

import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import grpc
import httpx
import numpy as np
import pytest
import yaml
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from splitrail.split.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    export_service_pb2,
    export_service_pb2_grpc,
    import_pb2,
    split_service_pb2,
    version_pb2,
)
from splitrail_common.ids import new_id

pytestmark = pytest.mark.integration
TRAIN, VAL, TEST = dataset_pb2.SPLIT_TRAIN, dataset_pb2.SPLIT_VAL, dataset_pb2.SPLIT_TEST
YOLO, COCO = export_service_pb2.EXPORT_FORMAT_YOLO, export_service_pb2.EXPORT_FORMAT_COCO


def refusal(raised):
    """(code, reason, fields) of an error."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in rpc_status.from_call(raised.value).details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return raised.value.code(), info.reason, [item.field for item in bad.field_violations]


async def messages(api, **fields):
    stub = export_service_pb2_grpc.ExportServiceStub(api.channel)
    request = export_service_pb2.ExportVersionRequest(**fields)
    return [message async for message in stub.ExportVersion(request, metadata=api.metadata, timeout=60)]


async def export(api, **fields):
    """An export: its files by path, its start, its end, its messages."""
    sent = await messages(api, **fields)
    files, order = {}, []
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        for message in sent:
            for file in message.files:
                data = file.data if file.HasField("data") else (await http.get(file.url)).content
                files[file.path] = files.get(file.path, b"") + data
                if not file.more:
                    assert (hashlib.sha256(files[file.path]).hexdigest(), len(files[file.path])) == (file.sha256, file.size_bytes)
                    order.append(file.path)
    assert len(set(order)) == len(order)
    assert sent[0].HasField("start")
    assert sent[-1].HasField("end")
    return SimpleNamespace(files=files, order=order, start=sent[0].start, end=sent[-1].end, messages=sent)


async def current_split(api, version):
    return (await api.call(api.splits.GetSplit, split_service_pb2.GetSplitRequest(version_id=version.version_id))).split


def hostile(sources):
    """A COCO source whose names of files and classes are what nobody would wish for."""
    classes = ["no", "a\nb: c", "../../up", '"quoted"', "中文🙂", "!!python/name:os.system", "-", "{x}"]
    paths = [
        "images/train/a.jpg",
        "images/val/A.JPG",
        "val/a.jpg",
        "images/a~1.jpg",
        "images/aux.jpg",
        "images/é.jpg",
        "images/e\u0301.jpg",
        "images/- x: [y].jpg",
        "images/images/labels/deep.jpg",
        "images/🙂 '\"$(touch x).jpg",
        "images/unlabelled.jpg",
        "images/empty.jpg",
    ]
    images = [{"id": n, "file_name": path, "width": 64, "height": 48} for n, path in enumerate(paths) if "unlabelled" not in path]
    boxes = [[0, 0, 64, 48], [63.9, 47.9, 0.2, 0.3], [0.0001, 0.0001, 0.0002, 0.0002], [1 / 3, 2 / 7, 31.4159, 27.1828], [-5, -5, 20, 20]]
    annotations = [
        {"id": n, "image_id": n % len(paths), "category_id": n % len(classes), "bbox": boxes[n % len(boxes)]}
        for n in range(60)
        if not any(word in paths[n % len(paths)] for word in ("labelled", "empty"))
    ]
    categories = [{"id": n, "name": name} for n, name in enumerate(classes)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    return {**{path: sources.picture(n) for n, path in enumerate(paths)}, "instances.json": json.dumps(document).encode()}


def names_of_images(exported):
    """Paths of images, without the numbers that tell those of the same name apart."""
    return sorted(re.sub(r"~\d+\.", ".", path) for path in exported.files if path.endswith(".jpg"))


@pytest.fixture
async def version(api, sources):
    return (await api.bring(sources.yolo(60))).version


@pytest.mark.parametrize("format_", [YOLO, COCO])
@pytest.mark.parametrize("source", ["plain", "hostile"])
async def test_an_export_imported_again_has_the_same_digests(api, sources, format_, source):
    brought = await api.bring(sources.yolo(60) if source == "plain" else hostile(sources))
    version = brought.version
    assert (version.unlabelled_count > 0, version.empty_count > 0) == (True, True), brought
    split = await api.split(version.version_id, (0.5, 0.25, 0.25))
    exported = await export(api, dataset_id=version.dataset_id, version_id=version.version_id, format=format_, include_unlabelled=True)
    assert (exported.start.reference, exported.start.split_id) == (split.reference, split.split_id)
    assert (exported.end.version_digest, exported.end.split_digest, exported.end.part_digests) == (version.digest, split.digest, split.part_digests)
    assert (exported.end.image_count, exported.end.file_count) == (version.image_count, len(exported.files))
    again = await api.bring(exported.files, "again", strict=True)
    assert (again.state, again.failure) == (import_pb2.IMPORT_STATE_SUCCEEDED, "")
    assert again.format == (import_pb2.SOURCE_FORMAT_YOLO if format_ == YOLO else import_pb2.SOURCE_FORMAT_COCO)
    assert (again.version.digest, list(again.version.class_names)) == (version.digest, list(version.class_names))
    imported = await current_split(api, again.version)
    assert (imported.digest, imported.part_digests) == (split.digest, split.part_digests)
    twice = await export(api, version_id=again.version.version_id, format=format_, include_unlabelled=True)
    assert names_of_images(twice) == names_of_images(exported)


CLASSES = ["b/c", "b_c", "CON", "train", "images", "no", "Cat", "cat", "unused"]


async def classified(api, sources):
    """A version of classes of whole images that are not in the order of their names, one of them without images, with images in every state."""
    dataset = await api.dataset(task=dataset_pb2.TASK_CLASSIFY)
    draft = await api.draft(dataset.dataset_id, class_names=CLASSES)
    pictures = [sources.picture(number) for number in range(48)]
    await api.send(pictures)
    entries = []
    for number, data in enumerate(pictures):
        class_id = number % (len(CLASSES) - 1)
        name = f"{'cat/' if number % 3 else ''}{number // 2 % 20}.{'jpg' if number % 2 else 'png'}"
        entry = {"sha256": hashlib.sha256(data).hexdigest(), "path": f"site{number // 16}/{name}"}
        if number < 40:
            entry["annotations"] = version_pb2.AnnotationList(items=[dataset_pb2.Annotation(class_id=class_id)])
        else:
            entry["label_state"] = dataset_pb2.LABEL_STATE_EMPTY if number % 2 else dataset_pb2.LABEL_STATE_UNLABELLED
        entries.append(entry)
    await api.upsert(draft.version_id, *entries)
    return await api.commit(draft.version_id)


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
    assert (again.version.digest, list(again.version.class_names), again.note_count) == (version.digest, CLASSES, 0)
    imported = await current_split(api, again.version)
    assert (imported.digest, imported.part_digests) == (split.digest, split.part_digests)
    twice = await export(api, version_id=again.version.version_id, include_unlabelled=True)
    assert names_of_images(twice) == names_of_images(exported)
    test = await export(api, version_id=version.version_id, splits=[TEST])
    assert {path.split("/")[-1] for path in test.files if path.startswith(("train/", "val/"))} == {".gitkeep"}


async def test_oriented_boxes_as_coco_imported_again_have_the_same_digests(api, sources):
    files = {"data.yaml": b"names: [a, b]"}
    for number in range(12):
        files[f"images/{number}.jpg"] = sources.picture(number)
        files[f"labels/{number}.txt"] = f"{number % 2} 0.1 0.2 0.31234{number} 0.1 0.4 0.3 0.2 0.4\n".encode() if number % 4 else b""
    version = (await api.bring(files, task=dataset_pb2.TASK_OBB)).version
    split = await api.split(version.version_id, (0.5, 0.25, 0.25))
    for format_ in (YOLO, COCO):
        exported = await export(api, version_id=version.version_id, format=format_)
        again = await api.bring(exported.files, f"again{format_}", task=dataset_pb2.TASK_OBB, strict=True)
        assert (again.version.digest, (await current_split(api, again.version)).digest) == (version.digest, split.digest)


async def test_what_a_mirrored_pose_exchanges_is_kept(api, sources):
    def pose(extra):
        row = b"0 0.5 0.5 0.2 0.2 0.4 0.5 2 0.6 0.6 1 0.5 0.5 2\n"
        files = {"data.yaml": f"names: [person]\nkpt_shape: [3, 3]\n{extra}".encode()}
        return files | {f"images/{n}.jpg": sources.picture(n) for n in range(3)} | {f"labels/{n}.txt": row for n in range(3)}

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
    assert {path.replace("images/", "labels/").replace(".jpg", ".txt") for path in files if path.startswith("images/")} == {
        path for path in files if path.startswith("labels/")
    }
    assert sum(data == b"" for data in files.values()) == version.empty_count == 6
    lock = json.loads(files["split.lock.json"])
    assert (lock["version"]["reference"], lock["version"]["digest"]) == ("cells@v1", version.digest)
    assert (lock["split"]["reference"], lock["split"]["digest"]) == (split.reference, split.digest)
    assert lock["split"]["part_digests"] == {part: getattr(split.part_digests, part) for part in ("train", "val", "test")}
    assert (lock["split"]["parameters"]["seed"], lock["split"]["algorithm_version"]) == ("42", split.algorithm_version)
    assert lock["export"] == {"format": "yolo", "images": counts, "include_unlabelled": False}
    assert lock["class_names"] == list(version.class_names)
    assert (await export(api, split_id=split.split_id)).files == files


async def test_single_parts(api, version):
    split = await api.split(version.version_id, (0.8, 0.0, 0.2))
    test = await export(api, version_id=version.version_id, splits=[TEST])
    assert {path.split("/")[1] for path in test.files if "/" in path} == {"test"}
    assert yaml.safe_load(test.files["data.yaml"])["train"] is None
    assert (test.end.part_digests.test, test.end.part_digests.train) == (split.part_digests.test, "")
    both = yaml.safe_load((await export(api, version_id=version.version_id)).files["data.yaml"])
    assert (both["train"], both["val"], both["test"]) == ("images/train", "images/train", "images/test")
    coco = await export(api, version_id=version.version_id, splits=[TRAIN, TEST], format=COCO)
    documents = {path: json.loads(data) for path, data in coco.files.items() if path.startswith("annotations/")}
    assert set(documents) == {"annotations/instances_train.json", "annotations/instances_test.json"}
    for path, document in documents.items():
        assert {image["file_name"] for image in document["images"]} == {
            name for name in coco.files if name.startswith(f"images/{'train' if 'train' in path else 'test'}/")
        }
        assert [category["name"] for category in document["categories"]] == list(version.class_names)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await messages(api, version_id=version.version_id, splits=[TRAIN, VAL])
    assert refusal(raised) == (grpc.StatusCode.FAILED_PRECONDITION, "SPLIT_EMPTY", ["splits"])


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
    with pytest.raises(grpc.aio.AioRpcError) as raised:  # nothing in the folder said how to split it
        await current_split(api, again.version)
    assert refusal(raised)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "SPLIT_MISSING")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await messages(api, version_id=version.version_id, splits=[TRAIN])
    assert refusal(raised)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "SPLIT_MISSING")


async def test_a_version_that_nobody_has_labelled(api, sources):
    version = (await api.bring({**{f"images/{n}.jpg": sources.picture(n) for n in range(4)}, "data.yaml": b"names: [a]"})).version
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await messages(api, version_id=version.version_id)
    assert refusal(raised) == (grpc.StatusCode.FAILED_PRECONDITION, "SPLIT_EMPTY", ["version_id"])
    for format_ in (YOLO, COCO):
        exported = await export(api, version_id=version.version_id, format=format_, include_unlabelled=True)
        again = await api.bring(exported.files, f"again{format_}", strict=True)
        assert again.version.digest == version.digest


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
    beyond = await export(api, split_id=split.split_id, format=format_, after_ordinal=2**64 - 1)
    assert not any(path.startswith("images/") for path in beyond.files)


async def test_requests_that_cannot_be_meant(api, version):
    split = await api.split(version.version_id)
    for fields, expected in [
        ({}, (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["version_id"])),
        ({"version_id": "x"}, (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["version_id"])),
        ({"version_id": version.version_id, "format": 9}, (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["format"])),
        ({"version_id": version.version_id, "splits": [0]}, (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["splits"])),
        ({"version_id": version.version_id, "splits": [7]}, (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["splits"])),
        ({"version_id": new_id()}, (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", [])),
        ({"split_id": new_id()}, (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", [])),
        ({"split_id": split.split_id, "version_id": new_id()}, (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", [])),
        ({"version_id": version.version_id, "dataset_id": new_id()}, (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", [])),
    ]:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await messages(api, **fields)
        assert refusal(raised) == expected, fields


async def test_who_may_export(api, place, version):
    split = await api.split(version.version_id)
    assert (await export(api.as_user(**{place.project: "viewer"}), version_id=version.version_id)).end.image_count == 54
    for stranger in (api.as_user(elsewhere="admin"), api.as_attempt(split.split_id, "train", "val"), api.as_service()):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await messages(stranger, split_id=split.split_id)
        assert raised.value.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED)


async def test_a_draft_and_kinds_that_a_format_does_not_hold(api, place, version):
    place.execute("UPDATE dataset SET task = 5")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await messages(api, version_id=version.version_id, format=COCO)
    assert refusal(raised) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["format"])
    place.execute("UPDATE version SET state = 1")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await messages(api, version_id=version.version_id)
    assert refusal(raised)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "VERSION_STATE")


async def assets(api, version, **filters):
    request = dataset_service_pb2.ListAssetsRequest(dataset_id=version.dataset_id, version_id=version.version_id, **filters)
    found = []
    while True:
        page = await api.call(api.datasets.ListAssets, request)
        found += page.assets
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_images_by_folder_and_metadata(api, place, sources):
    files = {
        path.replace("images/", f"images/site{int(path[-5]) % 3}/") if path.endswith(".jpg") else path: data
        for path, data in sources.yolo(40).items()
    }
    files = {path.replace("labels/", f"labels/site{int(path[-5]) % 3}/") if path.endswith(".txt") else path: data for path, data in files.items()}
    version = (await api.bring(files)).version
    place.execute("""UPDATE version_asset SET metadata = jsonb_build_object('day', (ordinal %% 2)::text, 'odd=key', '%%', 'site', 'Ω')""")
    paths = sorted(path for path in files if path.endswith(".jpg"))
    for size in (2, 1000):
        shown = await assets(api, version, path_prefix="images/site1/", page_size=size)
        assert [one.path for one in shown] == [path for path in paths if path.startswith("images/site1/")]
        odd = await assets(api, version, metadata=["day=1", "site=Ω"], page_size=size)
        assert [one.ordinal for one in odd] == list(range(1, 40, 2))
        assert dict(odd[0].metadata) == {"day": "1", "odd=key": "%", "site": "Ω"}
    both = await assets(
        api, version, metadata=["day=0"], path_prefix="images/site2", class_name="class1", label_state=dataset_pb2.LABEL_STATE_LABELLED, page_size=1
    )
    expected = [one for one in await assets(api, version, class_name="class1") if one.path.startswith("images/site2/") and one.ordinal % 2 == 0]
    assert [one.path for one in both] == [one.path for one in expected]
    assert expected
    await api.split(version.version_id)
    tested = await assets(api, version, split=TEST, metadata=["day=1"])
    assert {one.split for one in tested} == {TEST}
    assert {one.ordinal for one in tested} == {one.ordinal for one in await assets(api, version, split=TEST) if one.ordinal % 2}
    for nothing in ({"path_prefix": "%"}, {"path_prefix": "images/SITE1"}, {"metadata": ["day=2"]}, {"metadata": ["Day=1"]}):
        assert await assets(api, version, **nothing) == []


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"metadata": ["day"]}, "metadata[0]"),
        ({"metadata": ["a=1", "=1"]}, "metadata[1]"),
        ({"metadata": ["a=1", "a=2"]}, "metadata[1]"),
        ({"metadata": ["a=\0"]}, "metadata[0]"),
        ({"metadata": [f"k{n}=1" for n in range(17)]}, "metadata"),
        ({"path_prefix": "x" * 1025}, "path_prefix"),
        ({"path_prefix": "\0"}, "path_prefix"),
    ],
)
async def test_filters_that_cannot_be_meant(api, version, filters, field):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await assets(api, version, **filters)
    assert refusal(raised) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", [field])


async def test_thumbnails_are_for_those_who_see_the_dataset(api, place, sources, version):
    other = (await api.bring(sources.yolo(3, start=100), "others")).version
    first, foreign = (await assets(api, version))[0], (await assets(api, other))[0]

    async def thumbnail(caller, dataset_id, sha256):
        request = dataset_service_pb2.GetThumbnailRequest(dataset_id=dataset_id, sha256=sha256)
        call = caller.datasets.GetThumbnail(request, metadata=caller.metadata, timeout=30)
        return dict(await call.initial_metadata()), await call

    metadata, body = await thumbnail(api.as_user(**{place.project: "viewer"}), version.dataset_id, first.sha256)
    assert (body.content_type, body.data[:2]) == ("image/jpeg", b"\xff\xd8")
    assert metadata["cache-control"] == "private, max-age=31536000, immutable"
    for caller, dataset_id, sha256, code in [
        (api, version.dataset_id, foreign.sha256, grpc.StatusCode.NOT_FOUND),
        (api, new_id(), first.sha256, grpc.StatusCode.NOT_FOUND),
        (api, version.dataset_id, "0" * 64, grpc.StatusCode.NOT_FOUND),
        (api, version.dataset_id, first.sha256.upper() + "/", grpc.StatusCode.INVALID_ARGUMENT),
        (api.as_user(elsewhere="admin"), version.dataset_id, first.sha256, grpc.StatusCode.NOT_FOUND),
    ]:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await thumbnail(caller, dataset_id, sha256)
        assert raised.value.code() == code


def write(folder: Path, files):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


ULTRALYTICS = """
import json, sys
import ultralytics.data.utils
ultralytics.data.utils.check_font = lambda font: None  # would look for it on the network
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import YOLODataset
data = ultralytics.data.utils.check_det_dataset("data.yaml", autodownload=False)
seen = {}
for part in ("train", "val", "test"):
    labels = YOLODataset(img_path=data[part], data=data, hyp=get_cfg(), imgsz=64, augment=False).labels
    seen[part] = [len(labels), sum(len(one["cls"]) for one in labels)]
YOLO("yolov8n.yaml").train(
    data="data.yaml", epochs=1, imgsz=32, batch=8, device="cpu", plots=False, workers=0, verbose=False, project=sys.argv[1], name="run"
)
print(json.dumps({"names": list(data["names"].values()), "seen": seen}))
"""


def ultralytics(program, folder, tmp_path):
    """What a program that ends well prints last."""
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(tmp_path / "config"), "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0"}
    command = [sys.executable, "-c", program, str(tmp_path / "runs")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.torch
@pytest.mark.parametrize("source", ["plain", "hostile"])
async def test_ultralytics_trains_on_the_folder_as_it_is(api, sources, tmp_path, source):
    version = (await api.bring(sources.yolo(40) if source == "plain" else hostile(sources))).version
    split = await api.split(version.version_id, (0.5, 0.25, 0.25))
    folder = tmp_path / "images" / "exported"  # Ultralytics looks for `images` in paths
    write(folder, (await export(api, split_id=split.split_id)).files)
    found = await asyncio.to_thread(ultralytics, ULTRALYTICS, folder, tmp_path)
    assert found["names"] == list(version.class_names)
    assert list(found["seen"].values()) == [[part.images, part.objects] for part in split.certificate.parts]
    assert (tmp_path / "runs" / "run" / "weights" / "last.pt").is_file()


CLASSIFY = """
import json, os, sys
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import ClassificationDataset
from ultralytics.data.utils import check_cls_dataset
data = check_cls_dataset(os.getcwd())
parts = {part: ClassificationDataset(str(data[part]), get_cfg()) for part in ("train", "val", "test")}
YOLO("yolo11n-cls.yaml").train(
    data=os.getcwd(), epochs=1, imgsz=32, batch=8, device="cpu", plots=False, workers=0, verbose=False, project=sys.argv[1], name="run"
)
classes = {part: one.base.classes for part, one in parts.items()}
print(json.dumps({"names": data["names"], "classes": classes, "seen": {part: len(one.samples) for part, one in parts.items()}}))
"""


@pytest.mark.torch
async def test_ultralytics_trains_on_a_tree_of_classes_as_it_is(api, sources, tmp_path):
    version = await classified(api, sources)
    await api.split(version.version_id, (0.5, 0.25, 0.25))
    exported = await export(api, version_id=version.version_id, include_unlabelled=True)
    folder = tmp_path / "exported"
    write(folder, exported.files)
    found = await asyncio.to_thread(ultralytics, CLASSIFY, folder, tmp_path)
    names = sorted(one["folder"] for one in json.loads(exported.files["class_folders.json"])["classes"])
    assert list(found["names"].values()) == names
    assert list(found["classes"].values()) == [names] * 3
    assert found["seen"] == {
        part: sum(path.startswith(f"{part}/") and path.endswith(".jpg") for path in exported.files) for part in ("train", "val", "test")
    }
    assert (tmp_path / "runs" / "run" / "weights" / "last.pt").is_file()
