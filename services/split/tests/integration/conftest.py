"""A real split service on a free port, over the embedded stack's Postgres and S3; each test has a database and a project of its own."""

import asyncio
import hashlib
import io
import itertools
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import grpc
import httpx
import psycopg
import pytest
from minio import Minio
from PIL import Image, ImageDraw
from psycopg import sql
from splitrail.split.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    import_pb2,
    import_service_pb2,
    import_service_pb2_grpc,
    split_pb2,
    split_service_pb2,
    split_service_pb2_grpc,
    version_pb2,
    version_service_pb2,
    version_service_pb2_grpc,
)
from splitrail_common.concurrency import ended
from splitrail_common.database import open_pool
from splitrail_common.peers import bearer
from splitrail_common.server import Draining, make_server
from splitrail_common.tokens import Kind, Signer, Verifier
from splitrail_local import postgres
from splitrail_local.testing import RunningStack, running_stack
from splitrail_split.app import build
from splitrail_split.settings import Settings

pytestmark = pytest.mark.integration
_TEMPLATE = "split_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory, only=("postgres", "s3")) as running:
        yield running


@pytest.fixture(scope="session")
def template(stack: RunningStack) -> str:
    """A database with all migrations applied, to be cloned."""
    owner = sql.Identifier(postgres.database("split"))
    with psycopg.connect(stack.admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(_TEMPLATE), owner))

    async def migrate() -> None:
        async with open_pool(_dsn(stack, _TEMPLATE), size=2, deadline_seconds=20, package="splitrail_split"):
            pass

    asyncio.run(migrate())
    return _TEMPLATE


def _dsn(stack: RunningStack, name: str) -> str:
    return stack.dsn("split").rpartition("/")[0] + "/" + name


@dataclass(frozen=True)
class Place:
    """Where a test's service keeps its things."""

    stack: RunningStack
    dsn: str
    project: str

    def settings(self, **changes: object) -> Settings:
        environment = {name.removeprefix("SPLITRAIL_").lower(): value for name, value in self.stack.environment("split").items()}
        return Settings(**{**environment, "database_dsn": self.dsn, "listen": "127.0.0.1:0", **changes})

    def environment(self, listen: str) -> dict[str, str]:
        return {**self.stack.environment("split"), "SPLITRAIL_DATABASE_DSN": self.dsn, "SPLITRAIL_LISTEN": listen}

    def execute(self, query: str, *parameters: object) -> list[tuple]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def keys(self, prefix: str) -> set[str]:
        credentials = self.stack.s3_credentials()
        address = self.stack.s3_endpoint.removeprefix("http://")
        client = Minio(address, credentials.access_key, credentials.secret_key, secure=False, region="us-east-1")
        return {item.object_name for item in client.list_objects(self.stack.s3_bucket, prefix, recursive=True)}

    def staged(self) -> set[str]:
        return self.keys(f"staging/{self.project}/")

    async def unstaged(self) -> None:
        """Waits until nothing is staged: cleaning up follows the end of an import."""
        deadline = asyncio.get_running_loop().time() + 20
        while left := await asyncio.to_thread(self.staged):
            assert asyncio.get_running_loop().time() < deadline, f"{len(left)} objects are still staged"
            await asyncio.sleep(0.05)

    async def until(self, condition: Callable[[], object], seconds: float = 30) -> object:
        """What `condition` gives once it is true."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not (found := await asyncio.to_thread(condition)):
            assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
            await asyncio.sleep(0.02)
        return found

    def stored(self) -> set[str]:
        return self.keys(f"projects/{self.project}/assets/")


@pytest.fixture
def place(stack: RunningStack, template: str) -> Iterator[Place]:
    number = next(_numbers)
    name = f"split_test_{number}"
    with psycopg.connect(stack.admin_dsn, autocommit=True) as connection:
        owner = sql.Identifier(postgres.database("split"))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(sql.Identifier(name), owner, sql.Identifier(template)))
        made = Place(stack, _dsn(stack, name), f"p{number}")
        made.execute("INSERT INTO project (project_id) VALUES (%s)", made.project)
        yield made
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass
class Api:
    """The service's stubs for one token, and the steps that a client takes."""

    channel: grpc.aio.Channel
    place: Place
    metadata: tuple[tuple[str, str], ...]
    draining: Draining = field(default_factory=Draining)
    datasets: dataset_service_pb2_grpc.DatasetServiceStub = field(init=False)
    imports: import_service_pb2_grpc.ImportServiceStub = field(init=False)
    splits: split_service_pb2_grpc.SplitServiceStub = field(init=False)
    versions: version_service_pb2_grpc.VersionServiceStub = field(init=False)

    def __post_init__(self) -> None:
        self.datasets = dataset_service_pb2_grpc.DatasetServiceStub(self.channel)
        self.imports = import_service_pb2_grpc.ImportServiceStub(self.channel)
        self.splits = split_service_pb2_grpc.SplitServiceStub(self.channel)
        self.versions = version_service_pb2_grpc.VersionServiceStub(self.channel)

    def as_(self, metadata: tuple[tuple[str, str], ...]) -> "Api":
        return Api(self.channel, self.place, metadata)

    def as_user(self, **roles: str) -> "Api":
        return self.as_(bearer(self.place.stack.user_token(roles)))

    def as_service(self, issuer: str = "splitrail-trainer") -> "Api":
        return self.as_(bearer(Signer.from_file(issuer, self.place.stack.signing_key_file(issuer)).service_token()))

    def as_attempt(self, split_id: str, *splits: str, project: str = "") -> "Api":
        signer = Signer.from_file("splitrail-trainer", self.place.stack.signing_key_file("splitrail-trainer"))
        claims = {"project_id": project or self.place.project, "job_id": "job", "attempt": 1, "split_id": split_id, "splits": list(splits)}
        return self.as_(bearer(signer.sign(Kind.ATTEMPT, "attempt:job/1", 600, **claims)))

    async def call(self, method, request):
        return await method(request, metadata=self.metadata, timeout=60)

    async def open(self, dataset: str = "cells", request_id: str = "", task: int = dataset_pb2.TASK_UNSPECIFIED) -> import_pb2.Import:
        request = import_service_pb2.CreateImportRequest(project_id=self.place.project, dataset_name=dataset, request_id=request_id, task=task)
        return getattr(await self.call(self.imports.CreateImport, request), "import")

    async def announce(self, import_id: str, files: dict[str, bytes]) -> list[import_pb2.Upload]:
        announced = [import_pb2.SourceFile(path=path, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)) for path, data in files.items()]
        response = await self.call(self.imports.AddFiles, import_service_pb2.AddFilesRequest(import_id=import_id, files=announced))
        return list(response.uploads)

    async def upload(self, uploads: list[import_pb2.Upload], files: dict[str, bytes]) -> None:
        by_hash = {hashlib.sha256(data).hexdigest(): data for data in files.values()}
        async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=8), timeout=60) as client:
            for response in await asyncio.gather(*(client.put(upload.url, content=by_hash[upload.sha256]) for upload in uploads)):
                response.raise_for_status()

    async def start(self, import_id: str, **options: object) -> import_pb2.Import:
        return getattr(await self.call(self.imports.StartImport, import_service_pb2.StartImportRequest(import_id=import_id, **options)), "import")

    async def watch(self, import_id: str) -> import_pb2.Import:
        """The import once it has ended."""
        last = None
        request = import_service_pb2.WatchImportRequest(import_id=import_id)
        async for message in self.imports.WatchImport(request, metadata=self.metadata, timeout=60):
            last = getattr(message, "import")
        assert last is not None
        return last

    async def bring(
        self, files: dict[str, bytes], dataset: str = "cells", request_id: str = "", task: int = dataset_pb2.TASK_UNSPECIFIED, **options: object
    ) -> import_pb2.Import:
        """A whole import, to its end."""
        opened = await self.open(dataset, request_id, task)
        await self.upload(await self.announce(opened.import_id, files), files)
        await self.start(opened.import_id, **options)
        return await self.watch(opened.import_id)

    async def split(
        self, version_id: str, ratios=(0.7, 0.15, 0.15), seed: int = 42, stratify: bool = True, request_id: str = ""
    ) -> split_pb2.SplitRevision:
        train, val, test = ratios
        parameters = split_pb2.SplitParameters(
            ratios=split_pb2.SplitRatios(train=train, val=val, test=test),
            seed=seed,
            method=split_pb2.SPLIT_METHOD_STRATIFIED if stratify else split_pb2.SPLIT_METHOD_RANDOM,
        )
        request = split_service_pb2.CreateSplitRequest(version_id=version_id, parameters=parameters, request_id=request_id)
        return (await self.call(self.splits.CreateSplit, request)).split

    async def dataset(self, name: str = "mine", **fields: object) -> dataset_pb2.Dataset:
        request = dataset_service_pb2.CreateDatasetRequest(project_id=self.place.project, name=name, **fields)
        return (await self.call(self.datasets.CreateDataset, request)).dataset

    async def check(self, images: list[bytes]) -> list[import_pb2.Upload]:
        contents = [version_pb2.AssetContent(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)) for data in images]
        request = version_service_pb2.CheckAssetsRequest(project_id=self.place.project, contents=contents)
        return list((await self.call(self.versions.CheckAssets, request)).uploads)

    async def send(self, images: list[bytes]) -> None:
        """Uploads what the project lacks."""
        await self.upload(await self.check(images), {str(n): data for n, data in enumerate(images)})

    async def draft(self, dataset_id: str, **fields: object) -> dataset_pb2.DatasetVersion:
        request = version_service_pb2.CreateVersionRequest(dataset_id=dataset_id, **fields)
        return (await self.call(self.versions.CreateVersion, request)).version

    async def upsert(self, version_id: str, *assets: dict[str, object]) -> version_service_pb2.UpsertAssetsResponse:
        request = version_service_pb2.UpsertAssetsRequest(version_id=version_id, assets=[version_pb2.AssetUpsert(**one) for one in assets])
        return await self.call(self.versions.UpsertAssets, request)

    async def remove(self, version_id: str, **named: list[str]) -> version_service_pb2.DeleteAssetsResponse:
        return await self.call(self.versions.DeleteAssets, version_service_pb2.DeleteAssetsRequest(version_id=version_id, **named))

    async def commit(self, version_id: str, expected: str = "") -> dataset_pb2.DatasetVersion:
        request = version_service_pb2.CommitVersionRequest(version_id=version_id, expected_base_version_id=expected)
        return (await self.call(self.versions.CommitVersion, request)).version

    async def diff(self, version_id: str, **fields: object) -> version_service_pb2.DiffVersionsResponse:
        return await self.call(self.versions.DiffVersions, version_service_pb2.DiffVersionsRequest(version_id=version_id, **fields))

    async def assets(self, version_id: str) -> list[dataset_pb2.Asset]:
        """All images of a version with their annotations."""
        version = (await self.call(self.datasets.GetVersion, dataset_service_pb2.GetVersionRequest(version_id=version_id))).version
        request = dataset_service_pb2.ListAssetsRequest(
            dataset_id=version.dataset_id, version_id=version_id, include_annotations=True, page_size=1000
        )
        return list((await self.call(self.datasets.ListAssets, request)).assets)


@asynccontextmanager
async def serving(place: Place, **changes: object) -> AsyncIterator[Api]:
    settings = place.settings(**changes)
    draining = Draining()
    async with build(settings, draining) as app:
        server = make_server(app.servicers, Verifier.from_file(settings.jwks_file))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        background = [asyncio.create_task(one) for one in (app.workers.run(), app.sweeper.run())]
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Api(channel, place, bearer(place.stack.user_token({"*": "admin"})), draining)
        finally:
            draining.event.set()
            await server.stop(5)
            await ended(*background)


@pytest.fixture
async def api(place: Place) -> AsyncIterator[Api]:
    async with serving(place) as made:
        yield made


def picture(number: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """A JPEG that no other number gives."""
    image = Image.new("RGB", size, (number % 251, number // 251 % 251, 90))
    draw = ImageDraw.Draw(image)
    draw.rectangle((number % 40, number % 30, number % 40 + 12, number % 30 + 10), fill=(200, number % 256, 20))
    target = io.BytesIO()
    image.save(target, "JPEG", quality=92, comment=str(number).encode())
    return target.getvalue()


def yolo(count: int = 20, classes: int = 3, start: int = 0) -> dict[str, bytes]:
    """A YOLO source: every tenth image is reviewed and empty, every tenth but one is unlabelled."""
    names = "".join(f"  {index}: class{index}\n" for index in range(classes))
    files = {"data.yaml": f"path: .\ntrain: images\nnames:\n{names}".encode()}
    for number in range(start, start + count):
        files[f"images/{number:05}.jpg"] = picture(number)
        rows = "".join(f"{(number + k) % classes} 0.5 0.5 0.{k + 2} 0.25\n" for k in range(1 + number % 2))
        if number % 10 == 0:
            files[f"labels/{number:05}.txt"] = b""
        elif number % 10 != 9:
            files[f"labels/{number:05}.txt"] = rows.encode()
    return files


def voc(count: int, degenerate: int = 0, start: int = 0) -> dict[str, bytes]:
    """A Pascal VOC source of blood cells; the first `degenerate` files carry a box without area besides a good one."""
    generator = random.Random(count)
    files = {}
    for number in range(start, start + count):
        boxes = [(generator.choice(["RBC", "WBC", "Platelets"]), 5, 5, 20 + number % 20, 30)]
        if number - start < degenerate:
            boxes.append(("RBC", 10, 10, 10, 20))
        objects = "".join(
            f"<object><name>{escape(name)}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
            for name, a, b, c, d in boxes
        )
        size = "<size><width>64</width><height>48</height><depth>3</depth></size>"
        files[f"JPEGImages/cell_{number:05}.jpg"] = picture(number)
        files[f"Annotations/cell_{number:05}.xml"] = f"<annotation><filename>cell_{number:05}.jpg</filename>{size}{objects}</annotation>".encode()
    return files


def coco(count: int, absent: int = 0) -> dict[str, bytes]:
    """A COCO source whose JSON names `absent` images that are not there."""
    images = [{"id": n, "file_name": f"{n:05}.jpg", "width": 64, "height": 48} for n in range(count + absent)]
    annotations = [{"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": [4, 4, 20, 20]} for n in range(count)]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "ring"}, {"id": 2, "name": "disc"}]}
    files = {f"images/{n:05}.jpg": picture(n) for n in range(count)}
    return {**files, "annotations/instances.json": json.dumps(document).encode()}


@dataclass(frozen=True)
class Sources:
    """Generated sources, path -> bytes."""

    picture = staticmethod(picture)
    yolo = staticmethod(yolo)
    voc = staticmethod(voc)
    coco = staticmethod(coco)

    @staticmethod
    def folder(root: Path) -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def sources() -> Sources:
    return Sources()


@pytest.fixture(scope="session")
def serve_at():
    """`async with serve_at(place, **settings) as api`: a service with other settings."""
    return serving
