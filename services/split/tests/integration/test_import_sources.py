"""Imports that upload little or nothing: annotation files that come along, and lists of objects that lie in a bucket."""

import hashlib
import io

import grpc
import psycopg
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from minio import Minio
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, import_pb2, import_service_pb2, split_service_pb2

pytestmark = pytest.mark.integration
SUCCEEDED, FAILED = import_pb2.IMPORT_STATE_SUCCEEDED, import_pb2.IMPORT_STATE_FAILED


def announced(path, data, **fields):
    return import_pb2.SourceFile(**{"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data), **fields})


async def add(api, import_id, *files):
    return list((await api.call(api.imports.AddFiles, import_service_pb2.AddFilesRequest(import_id=import_id, files=files))).uploads)


def fields(raised):
    bad = error_details_pb2.BadRequest()
    for detail in rpc_status.from_call(raised.value).details:
        detail.Unpack(bad)
    return raised.value.code(), [item.field for item in bad.field_violations]


async def test_annotations_that_come_along_need_no_upload(api, place, sources):
    files = sources.yolo(12)
    images = {path: data for path, data in files.items() if path.endswith(".jpg")}
    labels = {path: data for path, data in files.items() if path not in images}
    labels["labels/00000.txt"] = b""  # empty is not absent
    opened = await api.open()
    uploads = await add(api, opened.import_id, *(announced(path, data, content=data) for path, data in labels.items()))
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
    await add(api, opened.import_id, *(announced(path, data, content=data) for path, data in files.items() if not path.endswith(".jpg")))
    images = {path: data for path, data in files.items() if path.endswith(".jpg")}
    await api.upload(await api.announce(opened.import_id, images), images)
    await api.start(opened.import_id)
    await api.watch(opened.import_id)

    await place.unstaged()
    assert await place.until(lambda: not place.execute("SELECT 1 FROM import_content"))


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
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await add(api, opened.import_id, file)
    assert fields(raised) == (grpc.StatusCode.INVALID_ARGUMENT, ["files[0].content"])


@pytest.fixture
def bucket(place):
    """Puts objects where the project may import from; returns their keys."""
    keys = place.stack.s3_credentials()
    client = Minio(place.stack.s3_endpoint.removeprefix("http://"), keys.access_key, keys.secret_key, secure=False)

    def put(name, data, project=""):
        key = f"incoming/{project or place.project}/{name}"
        client.put_object(place.stack.s3_bucket, key, io.BytesIO(data), len(data))
        return key

    return put


async def bring_list(api, text, **options):
    """An import of a CSV that comes along with its announcement: nothing is uploaded."""
    request = import_service_pb2.CreateImportRequest(project_id=api.place.project, dataset_name="listed", **options)
    opened = getattr(await api.call(api.imports.CreateImport, request), "import")
    assert await add(api, opened.import_id, announced("objects.csv", text.encode(), content=text.encode())) == []
    await api.start(opened.import_id)
    return await api.watch(opened.import_id)


async def test_a_list_of_objects_becomes_a_version(api, place, sources, bucket):
    images = [data for path, data in sorted(sources.yolo(6).items()) if path.endswith(".jpg")]
    keys = [bucket(f"cam{number % 2}/{number}.jpg", data) for number, data in enumerate(images)]
    rows = [f"{key},{'test' if number > 3 else 'train'},thing,1,1,20,20,site{number % 3}" for number, key in enumerate(keys)]
    broken = bucket("broken.jpg", b"no image")
    text = "\n".join(
        [
            "object,split,class,xmin,ymin,xmax,ymax,site",
            *rows,
            f"{keys[0]},train,other,2,2,30,30,",
            f"{broken},train,thing,1,1,2,2,",
            f"incoming/{place.project}/absent.jpg,train,thing,1,1,2,2,",
            f"{bucket('theirs.jpg', images[0], project='elsewhere')},train,thing,1,1,2,2,",
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
        dataset_id=ended.version.dataset_id, version_id=ended.version.version_id, metadata=["site=site0"], include_annotations=True
    )
    shown = list((await api.call(api.datasets.ListAssets, request)).assets)
    assert [(one.path, len(one.annotations)) for one in shown] == [("cam0/0.jpg", 2), ("cam1/3.jpg", 1)]
    split = (await api.call(api.splits.GetSplit, split_service_pb2.GetSplitRequest(version_id=ended.version.version_id))).split
    assert [part.images for part in split.certificate.parts] == [4, 0, 2]
    # The platform keeps bytes of its own, so the same list makes the same version, and another list without the objects' names too.
    assert (await bring_list(api, text + "\n")).version.version_id == ended.version.version_id


async def test_a_dry_run_of_a_list_keeps_nothing(api, place, sources, bucket):
    image = next(data for path, data in sources.yolo(1).items() if path.endswith(".jpg"))
    text = f"object,class\n{bucket('a.jpg', image)},thing\n"
    opened = await api.open("listed")
    await add(api, opened.import_id, announced("objects.csv", text.encode(), content=text.encode()))
    await api.start(opened.import_id, dry_run=True)
    ended = await api.watch(opened.import_id)
    assert (ended.state, ended.image_count, ended.HasField("version")) == (FAILED, 1, False)  # a class of a whole image is no box
    assert "objects.csv" in {one.path for one in ended.problems}
    assert not place.execute("SELECT 1 FROM asset WHERE project_id = %s", place.project)


async def test_a_list_classifies_whole_images(api, sources, bucket):
    images = [data for path, data in sorted(sources.yolo(4).items()) if path.endswith(".jpg")]
    text = "object,class\n" + "".join(f"{bucket(f'{n}.jpg', data)},kind{n % 2}\n" for n, data in enumerate(images))
    ended = await bring_list(api, text, task=dataset_pb2.TASK_CLASSIFY)
    assert (ended.state, list(ended.version.class_names), ended.version.object_count) == (SUCCEEDED, ["kind0", "kind1"], 4)


async def test_lists_that_are_refused(api, sources):
    ended = await bring_list(api, "name,split\na.jpg,train\n")
    assert (ended.state, "'object' among them" in ended.failure, ended.problems[0].line) == (FAILED, True, 1)
    for format_number, files in [
        (import_pb2.SOURCE_FORMAT_YOLO, {"objects.csv": b"object\n"}),
        (import_pb2.SOURCE_FORMAT_CSV, sources.yolo(1)),
    ]:
        opened = await api.open(f"other{format_number}")
        await api.upload(await api.announce(opened.import_id, files), files)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await api.start(opened.import_id, format=format_number)
        assert fields(raised) == (grpc.StatusCode.INVALID_ARGUMENT, ["format"])


async def test_a_csv_beside_images_is_ignored(api, sources):
    files = sources.yolo(3)
    opened = await api.open()
    await api.upload(await api.announce(opened.import_id, files), files)
    await api.announce(opened.import_id, {"notes.csv": b"a,b\n"})  # alone on the last page, and never uploaded
    await api.start(opened.import_id)
    assert (await api.watch(opened.import_id)).state == SUCCEEDED


async def test_what_a_list_takes_in_is_named_before_it_is_stored(api, place, sources, bucket):
    image = next(data for path, data in sources.yolo(1).items() if path.endswith(".jpg"))
    text = f"object\n{bucket('a.jpg', image)}\n"
    opened = await api.open("listed")
    await add(api, opened.import_id, announced("objects.csv", text.encode(), content=text.encode()))
    with psycopg.connect(place.dsn) as connection:  # the import waits for whoever removes bytes
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('staging/' || %s, 0))", (place.project,))
        await api.start(opened.import_id)
        await place.until(lambda: place.execute("SELECT 1 FROM import_member WHERE sha256 = %s", hashlib.sha256(image).digest()))
        assert not place.stored()
    assert (await api.watch(opened.import_id)).version.image_count == 1
    assert place.stored()
