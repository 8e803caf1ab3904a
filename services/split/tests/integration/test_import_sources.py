"""Imports that upload little or nothing: annotation files that come along, and lists of objects that lie in a bucket."""

import grpc
import psycopg
import pytest
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, import_pb2, import_service_pb2, split_service_pb2

from .calls import invalid, refused, sha

pytestmark = pytest.mark.integration
SUCCEEDED, FAILED = import_pb2.IMPORT_STATE_SUCCEEDED, import_pb2.IMPORT_STATE_FAILED


def announced(path, data, **fields):
    return import_pb2.SourceFile(**{"path": path, "sha256": sha(data), "size_bytes": len(data), **fields})


async def add(api, import_id, *files):
    return list(
        (
            await api.call(api.imports.AddFiles, import_service_pb2.AddFilesRequest(import_id=import_id, files=files))
        ).uploads
    )


async def test_annotations_that_come_along_need_no_upload(api, place, sources):
    files = sources.yolo(12)
    images = {path: data for path, data in files.items() if path.endswith(".jpg")}
    labels = {path: data for path, data in files.items() if path not in images}
    labels["labels/00000.txt"] = b""  # empty is not absent
    opened = await api.open()
    uploads = await api.announce(opened.import_id, labels, along=True)
    assert uploads == []
    await api.upload(await api.announce(opened.import_id, images), images)
    await api.start(opened.import_id)
    along = await api.watch(opened.import_id)
    uploaded = await api.bring({**images, **labels}, "uploaded")
    assert (along.state, along.version.digest) == (SUCCEEDED, uploaded.version.digest)
    assert along.version.empty_count > 0


async def test_what_came_along_goes_with_the_import(api, place, sources):
    files = sources.yolo(3)
    opened = await api.open()
    images = {path: data for path, data in files.items() if path.endswith(".jpg")}
    await api.announce(opened.import_id, {path: data for path, data in files.items() if path not in images}, along=True)
    await api.upload(await api.announce(opened.import_id, images), images)
    await api.start(opened.import_id)
    assert (await api.watch(opened.import_id)).state == SUCCEEDED
    await place.unstaged()
    await place.until(lambda: not place.execute("SELECT 1 FROM import_content"))


@pytest.mark.parametrize(
    "file",
    [
        announced("labels/a.txt", b"right", content=b"wrong"),
        announced("labels/a.txt", b"right", content=b"right", size_bytes=6),
        announced("labels/a.txt", b"x" * 16385, content=b"x" * 16385),
        announced("images/a.jpg", b"image", content=b"image"),
        announced("a.zip", b"PK", content=b"PK"),
    ],
)
async def test_contents_that_may_not_come_along(api, file):
    opened = await api.open()
    assert await refused(add(api, opened.import_id, file)) == invalid("files[0].content")


async def test_a_larger_file_is_told_to_be_uploaded(api):
    opened = await api.open()
    with pytest.raises(grpc.aio.AioRpcError, match="at most 16384 bytes, not 16385: upload what is larger"):
        await add(api, opened.import_id, announced("labels/a.txt", b"x" * 16385, content=b"x" * 16385))


async def bring_list(api, text, task=dataset_pb2.TASK_UNSPECIFIED, **options):
    """An import of a CSV that comes along with its announcement: nothing is uploaded."""
    opened = await api.open("listed", task=task)
    assert await api.announce(opened.import_id, {"objects.csv": text.encode()}, along=True) == []
    await api.start(opened.import_id, **options)
    return await api.watch(opened.import_id)


async def test_a_list_of_objects_becomes_a_version(api, place, sources):
    images = [data for path, data in sorted(sources.yolo(6).items()) if path.endswith(".jpg")]
    keys = [place.put(f"cam{number % 2}/{number}.jpg", data) for number, data in enumerate(images)]
    rows = [
        f"{key},{'test' if number > 3 else 'train'},thing,1,1,20,20,site{number % 3}" for number, key in enumerate(keys)
    ]
    broken = place.put("broken.jpg", b"no image")
    text = "\n".join(
        [
            "object,split,class,xmin,ymin,xmax,ymax,site",
            *rows,
            f"{keys[0]},train,other,2,2,30,30,",
            f"{broken},train,thing,1,1,2,2,",
            f"incoming/{place.project}/absent.jpg,train,thing,1,1,2,2,",
            f"{place.put('theirs.jpg', images[0], project='elsewhere')},train,thing,1,1,2,2,",
        ]
    )
    ended = await bring_list(api, text)
    assert (ended.state, ended.failure, ended.format) == (SUCCEEDED, "", import_pb2.SOURCE_FORMAT_CSV)
    assert [(one.path, one.line, one.code) for one in ended.problems if not one.note] == [
        ("broken.jpg", 0, "bad_image"),
        ("objects.csv", 10, "image_absent"),
        ("objects.csv", 11, "object_refused"),
    ]
    assert (ended.image_count, ended.processed_count, ended.excluded_count) == (8, 8, 2)
    assert list(ended.version.class_names) == ["other", "thing"]
    request = dataset_service_pb2.ListAssetsRequest(
        dataset_id=ended.version.dataset_id,
        version_id=ended.version.version_id,
        metadata=["site=site0"],
        include_annotations=True,
    )
    shown = list((await api.call(api.datasets.ListAssets, request)).assets)
    assert [(one.path, len(one.annotations)) for one in shown] == [("cam0/0.jpg", 2), ("cam1/3.jpg", 1)]
    split = (
        await api.call(api.splits.GetSplit, split_service_pb2.GetSplitRequest(version_id=ended.version.version_id))
    ).split
    assert [part.images for part in split.certificate.parts] == [4, 0, 2]
    assert (await bring_list(api, text + "\n")).version.version_id == ended.version.version_id


async def test_a_dry_run_of_a_list_keeps_nothing(api, place, sources):
    image = next(data for path, data in sources.yolo(1).items() if path.endswith(".jpg"))
    text = f"object,class,xmin,ymin,xmax,ymax\n{place.put('a.jpg', image)},thing,1,1,20,20\n"
    ended = await bring_list(api, text, dry_run=True)
    assert (ended.state, ended.image_count, ended.problem_count, ended.HasField("version")) == (SUCCEEDED, 1, 0, False)
    assert (place.assets(), place.kept()) == (set(), set())


async def test_a_list_without_anything_importable_fails(api, place, sources):
    image = next(data for path, data in sources.yolo(1).items() if path.endswith(".jpg"))
    ended = await bring_list(api, f"object,class\n{place.put('a.jpg', image)},thing\n")
    assert (ended.state, ended.image_count, ended.HasField("version")) == (
        FAILED,
        1,
        False,
    )  # a class of a whole image is no box
    assert "objects.csv" in {one.path for one in ended.problems}


async def test_a_list_classifies_whole_images(api, place, sources):
    images = [data for path, data in sorted(sources.yolo(4).items()) if path.endswith(".jpg")]
    text = "object,class\n" + "".join(f"{place.put(f'{n}.jpg', data)},kind{n % 2}\n" for n, data in enumerate(images))
    ended = await bring_list(api, text, task=dataset_pb2.TASK_CLASSIFY)
    assert (ended.state, list(ended.version.class_names), ended.version.object_count) == (
        SUCCEEDED,
        ["kind0", "kind1"],
        4,
    )


async def test_lists_that_are_refused(api, sources):
    ended = await bring_list(api, "name,split\na.jpg,train\n")
    assert (ended.state, "'object' among them" in ended.failure, ended.problems[0].line) == (FAILED, True, 1)
    for format_number, files in [
        (import_pb2.SOURCE_FORMAT_YOLO, {"objects.csv": b"object\n"}),
        (import_pb2.SOURCE_FORMAT_CSV, sources.yolo(1)),
    ]:
        opened = await api.open(f"other{format_number}")
        await api.upload(await api.announce(opened.import_id, files), files)
        assert await refused(api.start(opened.import_id, format=format_number)) == invalid("format")


async def test_a_csv_beside_images_is_ignored(api, sources):
    files = sources.yolo(3)
    opened = await api.open()
    await api.upload(await api.announce(opened.import_id, files), files)
    await api.announce(opened.import_id, {"notes.csv": b"a,b\n"})  # alone on the last page, and never uploaded
    await api.start(opened.import_id)
    assert (await api.watch(opened.import_id)).state == SUCCEEDED


async def test_what_a_list_takes_in_is_named_before_it_is_stored(api, place, sources):
    image = next(data for path, data in sources.yolo(1).items() if path.endswith(".jpg"))
    text = f"object\n{place.put('a.jpg', image)}\n"
    opened = await api.open("listed")
    await api.announce(opened.import_id, {"objects.csv": text.encode()}, along=True)
    with psycopg.connect(place.dsn) as connection:  # the import waits for whoever removes bytes
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('staging/' || %s, 0))", (place.project,))
        await api.start(opened.import_id)
        await place.until(
            lambda: place.execute("SELECT 1 FROM import_member WHERE sha256 = %s", bytes.fromhex(sha(image)))
        )
        assert not place.stored()
    assert (await api.watch(opened.import_id)).version.image_count == 1
    assert place.stored()
