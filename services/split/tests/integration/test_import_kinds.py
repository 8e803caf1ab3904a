"""Imports over the RPCs of every task, of CVAT and Label Studio, and of archives."""

import gzip
import io
import json
import stat
import tarfile
import zipfile

import pytest
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, import_pb2, split_service_pb2, version_pb2

from .calls import INVALID, invalid, refused

pytestmark = pytest.mark.integration
SUCCEEDED, FAILED = import_pb2.IMPORT_STATE_SUCCEEDED, import_pb2.IMPORT_STATE_FAILED
DETECT, SEGMENT, POSE, OBB, CLASSIFY = (
    getattr(dataset_pb2, f"TASK_{name}") for name in ("DETECT", "SEGMENT", "POSE", "OBB", "CLASSIFY")
)


async def annotations(api, version):
    return [(one.path, list(one.annotations)) for one in await api.assets(version.version_id)]


def zipped(files, *more):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in [*files.items(), *more]:
            archive.writestr(name, data)
    return {"source.zip": target.getvalue()}


def tarred(files):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return {"source.tar": target.getvalue()}


def gzipped(files):
    return {"source.tar.gz": gzip.compress(tarred(files)["source.tar"], mtime=0)}


def labelled(sources, row, count=4, names="names: [a, b]\nkpt_shape: [2, 3]"):
    files = {"data.yaml": names.encode()}
    for number in range(count):
        files |= {f"images/{number}.jpg": sources.picture(number), f"labels/{number}.txt": row}
    return files


@pytest.mark.parametrize(
    ("task", "row", "shape"),
    [
        (SEGMENT, b"1 0.1 0.1 0.5 0.1 0.5 0.6\n", "polygon"),
        (POSE, b"1 0.5 0.5 0.2 0.2 0.5 0.5 2 0.6 0.6 1\n", "keypoints"),
        (OBB, b"1 0.1 0.2 0.3 0.1 0.4 0.3 0.2 0.4\n", "oriented_box"),
    ],
)
async def test_yolo_of_every_shape(api, sources, task, row, shape):
    ended = await api.bring(labelled(sources, row), task=task)
    assert (ended.state, ended.problem_count, ended.version.object_count) == (SUCCEEDED, 0, 4)
    (_, [one]), *_ = await annotations(api, ended.version)
    assert (one.class_id, one.WhichOneof("shape")) == (1, shape)
    if task == POSE:
        assert [(p.point.x, p.visibility) for p in one.keypoints.points] == [
            (0.5, dataset_pb2.VISIBILITY_VISIBLE),
            (0.6, dataset_pb2.VISIBILITY_HIDDEN),
        ]
    dataset = await api.call(
        api.datasets.GetDataset, dataset_service_pb2.GetDatasetRequest(dataset_id=ended.version.dataset_id)
    )
    assert dataset.dataset.task == task
    assert (await refused(api.bring(labelled(sources, row), task=DETECT)))[0] is INVALID
    # A split stratifies whatever the shape.
    revision = await api.split(ended.version.version_id, (0.5, 0.25, 0.25))
    assert [part.images for part in revision.certificate.parts] == [2, 1, 1]


async def test_a_tree_of_classes(api, sources):
    files = {
        f"{part}/{name}/{n}.jpg": sources.picture(n + 10 * k)
        for k, (part, name) in enumerate([("train", "cat"), ("train", "dog"), ("val", "cat")])
        for n in range(3)
    }
    ended = await api.bring(files, task=CLASSIFY)
    assert (ended.state, list(ended.version.class_names), ended.version.object_count, ended.problem_count) == (
        SUCCEEDED,
        ["cat", "dog"],
        9,
        0,
    )
    assert all(
        one.class_id == (path.split("/")[1] == "dog") and not one.WhichOneof("shape")
        for path, [one] in await annotations(api, ended.version)
    )
    split = (
        await api.call(api.splits.GetSplit, split_service_pb2.GetSplitRequest(version_id=ended.version.version_id))
    ).split
    assert [part.images for part in split.certificate.parts] == [6, 3, 0]


async def test_coco_outlines_and_masks(api, sources):
    files = sources.coco(3)
    document = json.loads(files["annotations/instances.json"])
    document["annotations"][0]["segmentation"] = [[4, 4, 24, 4, 24, 24]]
    document["annotations"][1]["segmentation"] = {"size": [48, 64], "counts": [0, 5, 43, 5, 48 * 64 - 53]}
    document["annotations"][2]["segmentation"] = {"size": [48, 64], "counts": [1]}
    files["annotations/instances.json"] = json.dumps(document).encode()
    ended = await api.bring(files, task=SEGMENT)
    assert [(p.object, p.code) for p in ended.problems if p.HasField("object")] == [(3, "columns")]
    assert [len(found[0].polygon.points) for _, found in await annotations(api, ended.version)] == [3, 4]


def videos(sources):
    """Two videos of four frames in a folder each, with a car on every frame."""
    files = {}
    for video in ("north", "south"):
        boxes = "".join(f'<box frame="{n}" outside="0" xtl="4" ytl="4" xbr="{20 + n}" ybr="30"/>' for n in range(4))
        meta = f"<meta><task><name>{video}</name><size>4</size><labels><label><name>car</name></label></labels></task></meta>"
        files[f"{video}/annotations.xml"] = (
            f'<annotations>{meta}<track id="0" label="car">{boxes}</track></annotations>'.encode()
        )
        for n in range(4):
            files[f"{video}/images/frame_{n:06}.jpg"] = sources.picture(n + 100 * (video == "south"))
    return files


async def test_a_cvat_video_gives_a_sequence_and_suggests_to_group_by_it(api, sources):
    ended = await api.bring(videos(sources))
    assert (ended.state, ended.format, ended.problem_count, ended.version.object_count) == (
        SUCCEEDED,
        import_pb2.SOURCE_FORMAT_CVAT,
        0,
        8,
    )
    assert [(p.code, p.note) for p in ended.problems] == [("group_suggested", True)]
    assert "--group-by 'metadata:sequence'" in ended.problems[0].message
    request = dataset_service_pb2.ListAssetsRequest(dataset_id=ended.version.dataset_id, metadata=["sequence=north"])
    assert len((await api.call(api.datasets.ListAssets, request)).assets) == 4


async def test_what_callers_said_beside_a_video_is_not_dropped_without_a_word(api, sources):
    files = videos(sources)
    version = (await api.bring(files)).version
    own = (await api.assets(version.version_id))[0]
    draft = await api.draft(version.dataset_id, base_version_id=version.version_id)
    metadata = version_pb2.AssetMetadata(entries={**own.metadata, "site": "north"})
    await api.upsert(draft.version_id, {"path": own.path, "metadata": metadata})
    await api.commit(draft.version_id)
    again = await api.bring({path: data.replace(b"car", b"van") for path, data in files.items()})
    assert again.version.number == 3
    [dropped] = [problem for problem in again.problems if problem.code == "caller_data_dropped"]
    assert "cells@v2 has external ids or metadata of 1 image " in dropped.message


async def test_what_only_the_content_tells(api, sources):
    result = {
        "type": "rectanglelabels",
        "value": {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["ring"]},
    }
    tasks = [
        {"data": {"image": f"/data/upload/1/0123abcd-{n}.jpg"}, "annotations": [{"result": [result]}]} for n in range(3)
    ]
    files = {f"images/{n}.jpg": sources.picture(n) for n in range(3)}
    ended = await api.bring({**files, "labels.json": json.dumps(tasks).encode()})
    assert (ended.state, ended.format, ended.version.object_count) == (
        SUCCEEDED,
        import_pb2.SOURCE_FORMAT_LABEL_STUDIO,
        3,
    )
    image = '<image name="{}.jpg" width="64" height="48"><box label="ring" xtl="4" ytl="4" xbr="20" ybr="30"/></image>'
    xml = f"<annotations>{''.join(image.format(n) for n in range(3))}</annotations>".encode()
    ended = await api.bring({**files, "task.xml": xml}, dataset="others")
    assert (ended.state, ended.format, ended.version.object_count) == (SUCCEEDED, import_pb2.SOURCE_FORMAT_CVAT, 3)


@pytest.mark.parametrize("pack", [zipped, tarred, gzipped])
async def test_an_archive_is_what_it_holds(api, place, sources, pack):
    files = sources.yolo(12)
    files["images/00001.jpg"] = files["images/00001.jpg"][:200]
    folder = await api.bring(files)
    ended = await api.bring(pack({**files, "labels.cache": b"\x80evil", "best.pt": b"evil"}), dataset="packed")
    assert (ended.state, ended.format, ended.image_count, ended.file_count) == (
        SUCCEEDED,
        folder.format,
        12,
        folder.file_count,
    )
    assert ended.version.digest == folder.version.digest
    assert {(p.path, p.code) for p in ended.problems} == {
        ("images/00001.jpg", "bad_image"),
        ("labels.cache", "file_ignored"),
        ("best.pt", "file_ignored"),
    }
    assert (ended.problem_count, ended.note_count, ended.excluded_count) == (1, 2, 1)
    again = await api.bring(pack(files), dataset="packed")
    assert again.version.version_id == ended.version.version_id
    within = await api.bring(pack({f"source/{path}": data for path, data in files.items()}), dataset="packed")
    assert within.version.version_id == ended.version.version_id
    await place.unstaged()


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, b"/etc/passwd"


@pytest.mark.parametrize(
    ("member", "code"),
    [
        (("../../evil.jpg", b"x"), "unsafe_path"),
        (link("images/evil.jpg"), "link"),
        (("inner.zip", b"PK"), "nested_archive"),
        (("images/00001.JPG", b"x"), "duplicate_path"),
        (("zeros.txt", b"0" * 70_000_000), "archive_limit"),
    ],
)
async def test_a_hostile_member_refuses_the_archive(api, place, sources, member, code):
    ended = await api.bring(zipped(sources.yolo(4), member))
    assert (ended.state, [p.code for p in ended.problems], ended.problem_count) == (FAILED, [code], 1)
    assert "source.zip" in ended.failure
    for table in ("dataset", "version", "asset"):
        assert place.execute(f"SELECT 1 FROM {table}") == []
    assert place.stored() == set()
    await place.unstaged()


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"source.zip": b"not an archive"}, "cannot be read"),
        (zipped({"data.yaml": b"names: [a]"}), "holds no image"),
        (zipped({"a.jpg": b"x"}), "annotation format"),
    ],
)
async def test_archives_that_hold_no_source(api, files, word):
    ended = await api.bring(files)
    assert (ended.state, ended.problem_count) == (FAILED, 1)
    assert word in ended.failure


async def test_an_archive_beside_other_files_is_refused_at_start(api, sources):
    files = {**zipped(sources.yolo(2)), "a.jpg": sources.picture(1)}
    assert await refused(api.bring(files)) == invalid("import_id")
