"""A real split service on a free port, over the embedded stack's Postgres and S3; each test has a database and a
project of its own.
"""

import asyncio
import io
import itertools
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import grpc
import httpx
import psycopg
import pytest
from minio import Minio
from splitrail.internal.split.v1 import staging_service_pb2_grpc
from splitrail.split.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    import_pb2,
    import_service_pb2,
    import_service_pb2_grpc,
    project_service_pb2_grpc,
    split_pb2,
    split_service_pb2,
    split_service_pb2_grpc,
    version_pb2,
    version_service_pb2,
    version_service_pb2_grpc,
)
from splitrail_common.peers import bearer
from splitrail_common.server import Draining
from splitrail_common.server import serving as running
from splitrail_common.tokens import CallerKind, Signer
from splitrail_local.testing import RunningStack, TemplateDatabase, eventually, running_stack
from splitrail_split.app import build
from splitrail_split.settings import Settings

from .calls import sha
from .generated import Sources

pytestmark = pytest.mark.integration
GATE = 4711
"""The advisory lock of `Place.gated`."""
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory, only=("postgres", "s3")) as running:
        yield running


@pytest.fixture(scope="session")
def template(stack: RunningStack) -> TemplateDatabase:
    """A database with all migrations applied, to be cloned."""
    return TemplateDatabase(stack, "split")


@dataclass(frozen=True)
class Place:
    """Where a test's service keeps its things."""

    stack: RunningStack
    dsn: str
    project: str

    def settings(self, **changes: object) -> Settings:
        environment = {
            name.removeprefix("SPLITRAIL_").lower(): value for name, value in self.stack.environment("split").items()
        }
        return Settings(**{**environment, "database_dsn": self.dsn, "listen": "127.0.0.1:0", **changes})

    def environment(self, listen: str) -> dict[str, str]:
        return {**self.stack.environment("split"), "SPLITRAIL_DATABASE_DSN": self.dsn, "SPLITRAIL_LISTEN": listen}

    def execute(self, query: str, *parameters: object) -> list[tuple]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def storage(self) -> Minio:
        credentials = self.stack.s3_credentials()
        address = self.stack.s3_endpoint.removeprefix("http://")
        return Minio(address, credentials.access_key, credentials.secret_key, secure=False, region="us-east-1")

    def keys(self, prefix: str) -> set[str]:
        return {item.object_name for item in self.storage().list_objects(self.stack.s3_bucket, prefix, recursive=True)}

    def put(self, name: str, data: bytes, project: str = "") -> str:
        """Puts an object where the project (or another one) may import from; returns its key."""
        key = f"incoming/{project or self.project}/{name}"
        self.storage().put_object(self.stack.s3_bucket, key, io.BytesIO(data), len(data))
        return key

    def staged(self) -> set[str]:
        return self.keys(f"staging/{self.project}/")

    async def until(self, condition: Callable[[], object], seconds: float = 30) -> object:
        """What `condition` gives once it is true."""
        return await eventually(lambda: asyncio.to_thread(condition), "what the test waits for", seconds)

    async def unstaged(self) -> None:
        """Waits until nothing is staged: cleaning up follows the end of an import."""
        await self.until(lambda: not self.staged())

    def stored(self) -> set[str]:
        return self.keys(f"projects/{self.project}/assets/")

    def kept(self) -> set[str]:
        """Hashes of the contents whose bytes are stored."""
        return {key.rpartition("/")[2] for key in self.stored()}

    def assets(self) -> set[str]:
        """Hashes of the contents that have a row."""
        return {
            one
            for (one,) in self.execute("SELECT encode(sha256, 'hex') FROM asset WHERE project_id = %s", self.project)
        }

    async def swept(self) -> None:
        """Asks for a walk over what is stored, with no hold left, and waits until it has been made."""

        def ask() -> None:
            self.execute("UPDATE content_hold SET until = now() - interval '1 second'")
            self.execute("INSERT INTO asset_sweep (project_id) VALUES (%s) ON CONFLICT DO NOTHING", self.project)
            self.execute("UPDATE asset_sweep SET due_time = now()")

        await asyncio.to_thread(ask)  # may wait for a transaction of the service, which needs this loop to end it
        await self.walked()
        await self.until(lambda: not self.execute("SELECT 1 FROM content_hold"))

    async def walked(self) -> None:
        """Waits until no walk is due or under way."""
        await self.until(
            lambda: self.execute(
                "SELECT 1 FROM asset_sweep WHERE after IS NULL AND due_time > now() AND project_id = %s", self.project
            )
        )

    @contextmanager
    def gated(self, event: str, condition: str = "true") -> Iterator[psycopg.Connection]:
        """Whoever causes a trigger's event waits while the condition holds, until the session that this gives unlocks
        or ends.
        """
        self.execute(
            f"CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {condition} THEN PERFORM pg_advisory_xact_lock({GATE}); END IF;"
            " RETURN NULL; END $$"
        )
        self.execute(f"CREATE TRIGGER gate {event} EXECUTE FUNCTION gate()")
        with psycopg.connect(self.dsn, autocommit=True) as session:
            session.execute("SELECT pg_advisory_lock(%s)", (GATE,))
            yield session

    def waiting(self) -> list[int]:
        """The database's sessions that wait for an advisory lock, by their processes."""
        found = self.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return [pid for (pid,) in found]

    async def killed(self, process: asyncio.subprocess.Process) -> None:
        """Kills a process that waits at a gate, and ends its sessions there: Postgres would let them go on until they
        speak to their client.
        """
        process.kill()
        await asyncio.wait_for(process.wait(), 20)
        self.execute("SELECT pg_terminate_backend(pid, 20000) FROM unnest(%s::integer[]) pid", self.waiting())


@pytest.fixture
def place(stack: RunningStack, template: TemplateDatabase) -> Iterator[Place]:
    with template.clone() as database:
        made = Place(stack, database.dsn, f"p{next(_numbers)}")
        made.execute("INSERT INTO project (project_id) VALUES (%s)", made.project)
        yield made


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
    staging: staging_service_pb2_grpc.StagingServiceStub = field(init=False)
    projects: project_service_pb2_grpc.ProjectServiceStub = field(init=False)
    versions: version_service_pb2_grpc.VersionServiceStub = field(init=False)

    def __post_init__(self) -> None:
        self.datasets = dataset_service_pb2_grpc.DatasetServiceStub(self.channel)
        self.imports = import_service_pb2_grpc.ImportServiceStub(self.channel)
        self.splits = split_service_pb2_grpc.SplitServiceStub(self.channel)
        self.staging = staging_service_pb2_grpc.StagingServiceStub(self.channel)
        self.projects = project_service_pb2_grpc.ProjectServiceStub(self.channel)
        self.versions = version_service_pb2_grpc.VersionServiceStub(self.channel)

    def as_(self, metadata: tuple[tuple[str, str], ...]) -> "Api":
        return Api(self.channel, self.place, metadata)

    def as_user(self, **roles: str) -> "Api":
        return self.as_(bearer(self.place.stack.user_token(roles)))

    def as_service(self, issuer: str = "splitrail-trainer") -> "Api":
        return self.as_(bearer(Signer.from_file(issuer, self.place.stack.signing_key_file(issuer)).service_token()))

    def as_attempt(self, split_id: str, *parts: str, project: str = "") -> "Api":
        signer = Signer.from_file("splitrail-trainer", self.place.stack.signing_key_file("splitrail-trainer"))
        claims = {
            "project_id": project or self.place.project,
            "job_id": "job",
            "attempt": 1,
            "split_id": split_id,
            "parts": list(parts),
        }
        return self.as_(bearer(signer.sign(CallerKind.ATTEMPT, "attempt:job/1", 600, **claims)))

    async def call(self, method, request):
        return await method(request, metadata=self.metadata, timeout=60)

    async def open(
        self, dataset: str = "cells", request_id: str = "", task: int = dataset_pb2.TASK_UNSPECIFIED
    ) -> import_pb2.Import:
        request = import_service_pb2.CreateImportRequest(
            project_id=self.place.project, dataset_name=dataset, request_id=request_id, task=task
        )
        return (await self.call(self.imports.CreateImport, request)).dataset_import

    async def announce(
        self, import_id: str, files: dict[str, bytes], *, along: bool = False
    ) -> list[import_pb2.Upload]:
        """What is to be uploaded; `along`: the contents come with the announcement."""
        announced = [
            import_pb2.SourceFile(path=path, sha256=sha(data), size_bytes=len(data), content=data if along else None)
            for path, data in files.items()
        ]
        response = await self.call(
            self.imports.AddFiles, import_service_pb2.AddFilesRequest(import_id=import_id, files=announced)
        )
        return list(response.uploads)

    async def upload(self, uploads: list[import_pb2.Upload], files: dict[str, bytes]) -> None:
        by_hash = {sha(data): data for data in files.values()}
        async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=8), timeout=60) as client:
            for response in await asyncio.gather(
                *(client.put(upload.url, content=by_hash[upload.sha256]) for upload in uploads)
            ):
                response.raise_for_status()

    async def start(self, import_id: str, **options: object) -> import_pb2.Import:
        return (
            await self.call(
                self.imports.StartImport, import_service_pb2.StartImportRequest(import_id=import_id, **options)
            )
        ).dataset_import

    async def watch(self, import_id: str) -> import_pb2.Import:
        """The import once it has ended."""
        last = None
        request = import_service_pb2.WatchImportRequest(import_id=import_id)
        async for message in self.imports.WatchImport(request, metadata=self.metadata, timeout=60):
            last = message.dataset_import
        assert last is not None
        return last

    async def bring(
        self,
        files: dict[str, bytes],
        dataset: str = "cells",
        request_id: str = "",
        task: int = dataset_pb2.TASK_UNSPECIFIED,
        **options: object,
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
        request = split_service_pb2.CreateSplitRequest(
            version_id=version_id, parameters=parameters, request_id=request_id
        )
        return (await self.call(self.splits.CreateSplit, request)).split

    async def dataset(self, name: str = "mine", **fields: object) -> dataset_pb2.Dataset:
        request = dataset_service_pb2.CreateDatasetRequest(project_id=self.place.project, name=name, **fields)
        return (await self.call(self.datasets.CreateDataset, request)).dataset

    async def check(self, images: list[bytes]) -> list[import_pb2.Upload]:
        contents = [version_pb2.AssetContent(sha256=sha(data), size_bytes=len(data)) for data in images]
        request = version_service_pb2.CheckAssetsRequest(project_id=self.place.project, contents=contents)
        return list((await self.call(self.versions.CheckAssets, request)).uploads)

    async def send(self, images: list[bytes]) -> None:
        """Uploads what the project lacks."""
        await self.upload(await self.check(images), {str(n): data for n, data in enumerate(images)})

    async def draft(self, dataset_id: str, **fields: object) -> dataset_pb2.DatasetVersion:
        request = version_service_pb2.CreateVersionRequest(dataset_id=dataset_id, **fields)
        return (await self.call(self.versions.CreateVersion, request)).version

    async def upsert(self, version_id: str, *assets: dict[str, object]) -> version_service_pb2.UpsertAssetsResponse:
        request = version_service_pb2.UpsertAssetsRequest(
            version_id=version_id, assets=[version_pb2.AssetUpsert(**one) for one in assets]
        )
        return await self.call(self.versions.UpsertAssets, request)

    async def remove(self, version_id: str, **named: list[str]) -> version_service_pb2.DeleteAssetsResponse:
        return await self.call(
            self.versions.DeleteAssets, version_service_pb2.DeleteAssetsRequest(version_id=version_id, **named)
        )

    async def commit(self, version_id: str, expected: str = "") -> dataset_pb2.DatasetVersion:
        request = version_service_pb2.CommitVersionRequest(version_id=version_id, expected_base_version_id=expected)
        return (await self.call(self.versions.CommitVersion, request)).version

    async def diff(self, version_id: str, **fields: object) -> version_service_pb2.DiffVersionsResponse:
        return await self.call(
            self.versions.DiffVersions, version_service_pb2.DiffVersionsRequest(version_id=version_id, **fields)
        )

    async def assets(self, version_id: str) -> list[dataset_pb2.Asset]:
        """All images of a version with their annotations."""
        version = (
            await self.call(self.datasets.GetVersion, dataset_service_pb2.GetVersionRequest(version_id=version_id))
        ).version
        request = dataset_service_pb2.ListAssetsRequest(
            dataset_id=version.dataset_id, version_id=version_id, include_annotations=True, page_size=1000
        )
        return list((await self.call(self.datasets.ListAssets, request)).assets)


@asynccontextmanager
async def serving(place: Place, **changes: object) -> AsyncIterator[Api]:
    async with (
        build(place.settings(**changes)) as app,
        running(app, "127.0.0.1:0", grace_seconds=5) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield Api(channel, place, bearer(place.stack.user_token({"*": "admin"})), app.draining)


@asynccontextmanager
async def processing(place: Place, **settings: object) -> AsyncIterator[tuple[asyncio.subprocess.Process, Api]]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    environment = {
        **os.environ,
        **place.environment(address),
        **{f"SPLITRAIL_{name.upper()}": str(value) for name, value in settings.items()},
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "splitrail_split", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
            yield process, Api(channel, place, bearer(place.stack.user_token({"*": "admin"})))
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)


@pytest.fixture
async def api(place: Place) -> AsyncIterator[Api]:
    async with serving(place) as made:
        yield made


@pytest.fixture(scope="session")
def sources() -> Sources:
    return Sources()


@pytest.fixture(scope="session")
def serve_at():
    """`async with serve_at(place, **settings) as api`: a service with other settings."""
    return serving


@pytest.fixture(scope="session")
def process_at():
    """`async with process_at(place, **settings) as (process, api)`: a service in a process of its own, which can be
    killed.
    """
    return processing


@pytest.fixture
async def cells(api: Api, sources: Sources) -> dataset_pb2.DatasetVersion:
    """An imported version of 20 images, two of them without objects and two unlabelled."""
    return (await api.bring(sources.yolo(20))).version


@pytest.fixture
async def version(api: Api, sources: Sources) -> dataset_pb2.DatasetVersion:
    """An imported version of 60 images, six of them without objects and six unlabelled."""
    return (await api.bring(sources.yolo(60))).version


@pytest.fixture
async def mine(api: Api) -> dataset_pb2.DatasetVersion:
    """An empty draft of a dataset with two classes."""
    made = await api.dataset()
    return await api.draft(made.dataset_id, class_names=["car", "bus"])
