"""A dataset in the real split service, and stubs of the services in the stack."""

import asyncio
import hashlib
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from splitrail.internal.split.v1 import staging_service_pb2_grpc
from splitrail.internal.trainer.v1 import job_service_pb2_grpc
from splitrail.metrics.v1 import metrics_service_pb2_grpc
from splitrail.split.v1 import (
    dataset_pb2,
    dataset_service_pb2_grpc,
    import_pb2,
    import_service_pb2,
    import_service_pb2_grpc,
    project_service_pb2_grpc,
    split_pb2,
    split_service_pb2,
    split_service_pb2_grpc,
)
from splitrail.trainer.v1 import evaluation_service_pb2_grpc, run_service_pb2_grpc
from splitrail_common.ids import new_id
from splitrail_common.peers import bearer
from splitrail_local.shapes import generate
from splitrail_local.testing import RunningStack, eventually

IMAGES = 30
SECONDS = 20.0


@dataclass
class Wire:
    """Stubs of the three services."""

    stack: RunningStack
    channels: dict[str, grpc.aio.Channel]
    runs: Any = field(init=False)
    evaluations: Any = field(init=False)
    jobs: Any = field(init=False)
    staging: Any = field(init=False)
    splits: Any = field(init=False)
    imports: Any = field(init=False)
    projects: Any = field(init=False)
    datasets: Any = field(init=False)
    metrics: Any = field(init=False)

    def __post_init__(self) -> None:
        self.runs = run_service_pb2_grpc.RunServiceStub(self.channels["trainer"])
        self.evaluations = evaluation_service_pb2_grpc.EvaluationServiceStub(self.channels["trainer"])
        self.staging = staging_service_pb2_grpc.StagingServiceStub(self.channels["split"])
        self.jobs = job_service_pb2_grpc.JobServiceStub(self.channels["trainer"])
        self.splits = split_service_pb2_grpc.SplitServiceStub(self.channels["split"])
        self.projects = project_service_pb2_grpc.ProjectServiceStub(self.channels["split"])
        self.imports = import_service_pb2_grpc.ImportServiceStub(self.channels["split"])
        self.datasets = dataset_service_pb2_grpc.DatasetServiceStub(self.channels["split"])
        self.metrics = metrics_service_pb2_grpc.MetricsServiceStub(self.channels["metrics"])

    def user(self, roles: dict[str, str] | None = None) -> dict[str, Any]:
        """Call options of a user; default: editor everywhere."""
        return {"metadata": bearer(self.stack.user_token(roles or {"*": "editor"})), "timeout": SECONDS}

    def worker(self) -> dict[str, Any]:
        """Call options of a pod without a job."""
        return {"metadata": bearer(self.stack.worker_token), "timeout": SECONDS}

    def attempt(self, token: str) -> dict[str, Any]:
        """Call options of an attempt."""
        return {"metadata": bearer(token), "timeout": SECONDS}


@pytest.fixture
async def wire(services: RunningStack) -> AsyncIterator[Wire]:
    """Channels to the services of the stack."""
    channels = {
        name: grpc.aio.insecure_channel(services.state.address(name)) for name in ("split", "trainer", "metrics")
    }
    yield Wire(services, channels)
    for channel in channels.values():
        await channel.close()


@dataclass(frozen=True)
class Data:
    """A committed version with a split."""

    name: str
    dataset_id: str
    version_id: str
    split_id: str
    reference: str


async def import_dataset(
    wire: Wire,
    folder: Path,
    name: str,
    *,
    images: int = IMAGES,
    task: int = dataset_pb2.TASK_DETECT,
    project_id: str = "",
) -> tuple[str, str]:
    """Imports generated shapes; ids of dataset and version."""
    generate(folder, images=images, size=64)
    request = import_service_pb2.CreateImportRequest(dataset_name=name, task=task, project_id=project_id)
    made = await wire.imports.CreateImport(request, **wire.user())
    return await _fill(wire, made.dataset_import.import_id, folder)


def put(url: str, data: bytes) -> None:
    """An HTTP PUT."""
    with urllib.request.urlopen(urllib.request.Request(url, data, method="PUT"), timeout=20) as response:
        assert response.status == 200


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


async def _fill(wire: Wire, import_id: str, folder: Path) -> tuple[str, str]:
    contents = _contents(folder)
    by_hash = {hashlib.sha256(data).hexdigest(): data for data in contents.values()}
    files = [
        import_pb2.SourceFile(path=path, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        for path, data in contents.items()
    ]
    added = await wire.imports.AddFiles(
        import_service_pb2.AddFilesRequest(import_id=import_id, files=files), **wire.user()
    )
    for upload in added.uploads:
        await asyncio.to_thread(put, upload.url, by_hash[upload.sha256])
    await wire.imports.StartImport(import_service_pb2.StartImportRequest(import_id=import_id), **wire.user())

    async def ended():
        found = (
            await wire.imports.GetImport(import_service_pb2.GetImportRequest(import_id=import_id), **wire.user())
        ).dataset_import
        return found if found.state in (import_pb2.IMPORT_STATE_SUCCEEDED, import_pb2.IMPORT_STATE_FAILED) else None

    found = await eventually(ended, "the import has ended", 120)
    assert found.state == import_pb2.IMPORT_STATE_SUCCEEDED, found.failure
    return found.version.dataset_id, found.version.version_id


async def split(
    wire: Wire, dataset_id: str, version_id: str, ratios: tuple[float, float, float], seed: int = 0
) -> split_pb2.SplitRevision:
    """A new revision."""
    train, val, test = ratios
    parameters = split_pb2.SplitParameters(ratios=split_pb2.SplitRatios(train=train, val=val, test=test), seed=seed)
    request = split_service_pb2.CreateSplitRequest(dataset_id=dataset_id, version_id=version_id, parameters=parameters)
    return (await wire.splits.CreateSplit(request, **wire.user())).split


@pytest.fixture
async def data(wire: Wire, tmp_path: Path) -> Data:
    """Thirty images, split 70/15/15."""
    name = f"cells-{new_id()[-8:]}"
    dataset_id, version_id = await import_dataset(wire, tmp_path / "shapes", name)
    revision = await split(wire, dataset_id, version_id, (0.7, 0.15, 0.15))
    return Data(name, dataset_id, version_id, revision.split_id, revision.reference)


@pytest.fixture
def load_dataset(wire: Wire) -> Callable[..., Awaitable[tuple[str, str]]]:
    """`import_dataset` with these stubs."""
    return lambda folder, name, **options: import_dataset(wire, folder, name, **options)


@pytest.fixture
def make_split(wire: Wire) -> Callable[..., Awaitable[split_pb2.SplitRevision]]:
    """`split` with these stubs."""
    return lambda *arguments, **options: split(wire, *arguments, **options)
