"""The services on the embedded stack, a tiny dataset in them, and pods as processes that the tests start and kill."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.struct_pb2 import Value
from splitrail.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from splitrail.split.v1 import (
    dataset_pb2,
    import_pb2,
    import_service_pb2,
    import_service_pb2_grpc,
    split_pb2,
    split_service_pb2,
    split_service_pb2_grpc,
)
from splitrail.trainer.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
)
from splitrail_common.ids import new_id
from splitrail_common.peers import bearer
from splitrail_local.shapes import generate
from splitrail_local.testing import SERVERS, RunningStack, running_stack

SERVICES = ("split", "trainer", "metrics")
LEASE_SECONDS = 4
IMAGES = 30
ARGUMENTS: dict[str, Any] = {
    "batch": 8,
    "nbs": 8,
    "imgsz": 64,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 0,
    "mosaic": 0,
    "close_mosaic": 0,
    "seed": 0,
}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Postgres, NATS, S3 and the three services; no pod."""
    environment = {"trainer": {"SPLITRAIL_LEASE_SECONDS": str(LEASE_SECONDS)}}
    with running_stack(tmp_path_factory, only=(*SERVERS, *SERVICES), environment=environment) as running:
        yield running


@dataclass
class Platform:
    """The services as a user calls them."""

    stack: RunningStack
    channels: dict[str, grpc.aio.Channel]
    split_id: str = ""
    images: dict[int, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.auth = bearer(self.stack.user_token({"default": "editor"}))
        self.imports = import_service_pb2_grpc.ImportServiceStub(self.channels["split"])
        self.splits = split_service_pb2_grpc.SplitServiceStub(self.channels["split"])
        self.runs = run_service_pb2_grpc.RunServiceStub(self.channels["trainer"])
        self.evaluations = evaluation_service_pb2_grpc.EvaluationServiceStub(self.channels["trainer"])
        self.metrics = metrics_service_pb2_grpc.MetricsServiceStub(self.channels["metrics"])

    async def import_folder(self, folder: Path) -> str:
        """Imports a folder and splits it; the split's id."""
        opened = await self.imports.CreateImport(
            import_service_pb2.CreateImportRequest(dataset_name=folder.name, request_id=new_id()), metadata=self.auth
        )
        import_id = opened.dataset_import.import_id
        data = _read(folder)
        files = [
            import_pb2.SourceFile(path=name, sha256=hashlib.sha256(one).hexdigest(), size_bytes=len(one))
            for name, one in data.items()
        ]
        added = await self.imports.AddFiles(
            import_service_pb2.AddFilesRequest(import_id=import_id, files=files), metadata=self.auth
        )
        by_hash = {hashlib.sha256(one).hexdigest(): one for one in data.values()}
        async with httpx.AsyncClient(trust_env=False) as client:
            for upload in added.uploads:
                (await client.put(upload.url, content=by_hash[upload.sha256])).raise_for_status()
        await self.imports.StartImport(import_service_pb2.StartImportRequest(import_id=import_id), metadata=self.auth)
        last = None
        async for message in self.imports.WatchImport(
            import_service_pb2.WatchImportRequest(import_id=import_id), metadata=self.auth, timeout=120
        ):
            last = message.dataset_import
        assert last is not None
        assert last.state == import_pb2.IMPORT_STATE_SUCCEEDED, last
        parameters = split_pb2.SplitParameters(ratios=split_pb2.SplitRatios(train=0.6, val=0.2, test=0.2), seed=7)
        made = await self.splits.CreateSplit(
            split_service_pb2.CreateSplitRequest(
                dataset_id=last.version.dataset_id,
                version_id=last.version.version_id,
                parameters=parameters,
                request_id=new_id(),
            ),
            metadata=self.auth,
        )
        return str(made.split.split_id)

    async def train(self, epochs: int, **arguments: Any) -> str:
        """Queues a training; the run's id."""
        values = {name: Value(**_kind(value)) for name, value in (ARGUMENTS | {"epochs": epochs} | arguments).items()}
        request = run_service_pb2.CreateRunRequest(
            split_id=self.split_id, model="yolov8n", arguments=values, request_id=new_id()
        )
        return str((await self.runs.CreateRun(request, metadata=self.auth)).run.run_id)

    async def run(self, run_id: str) -> run_pb2.Run:
        """The run as it stands."""
        return (await self.runs.GetRun(run_service_pb2.GetRunRequest(run_id=run_id), metadata=self.auth)).run

    async def events(self, run_id: str, seconds: float = 240) -> list[Any]:
        """All events of a feed to its end, as a watcher that never looks away sees them."""
        seen = []
        async for message in self.metrics.WatchRun(
            metrics_service_pb2.WatchRunRequest(run_id=run_id), metadata=self.auth, timeout=seconds
        ):
            if message.HasField("event"):
                seen.append(message.event)
        return seen

    async def evaluate(self, run_id: str) -> str:
        """Queues an evaluation of the run on test; its id."""
        request = evaluation_service_pb2.CreateEvaluationRequest(
            run_id=run_id, part=dataset_pb2.PART_TEST, request_id=new_id()
        )
        return str((await self.evaluations.CreateEvaluation(request, metadata=self.auth)).evaluation.evaluation_id)

    async def evaluation(self, evaluation_id: str) -> evaluation_pb2.Evaluation:
        """The evaluation as it stands."""
        request = evaluation_service_pb2.GetEvaluationRequest(evaluation_id=evaluation_id)
        return (await self.evaluations.GetEvaluation(request, metadata=self.auth)).evaluation

    async def epochs(self, run_id: str) -> list[int]:
        """Epochs of the effective timeline."""
        try:
            response = await self.metrics.GetRunMetrics(
                metrics_service_pb2.GetRunMetricsRequest(run_id=run_id), metadata=self.auth
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return []
            raise
        return [one.epoch for one in response.epochs]


def _read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _kind(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"bool_value": value}
    return {"string_value": value} if isinstance(value, str) else {"number_value": value}


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated images in the YOLO layout."""
    folder = tmp_path_factory.mktemp("shapes", numbered=False)
    generate(folder, images=IMAGES, size=64, seed=3)
    return folder


_SPLIT: dict[str, str] = {}


@pytest.fixture
async def platform(stack: RunningStack, dataset: Path) -> AsyncIterator[Platform]:
    """The services with the dataset imported and split (once a session)."""
    channels = {
        name: grpc.aio.insecure_channel(stack.environment("split")[f"SPLITRAIL_{name.upper()}_ADDRESS"])
        for name in SERVICES
    }
    platform = Platform(stack, channels)
    if "id" not in _SPLIT:
        _SPLIT["id"] = await platform.import_folder(dataset)
    platform.split_id = _SPLIT["id"]
    yield platform
    for channel in channels.values():
        await channel.close()


@dataclass
class PodProcess:
    """A running pod."""

    process: subprocess.Popen[bytes]
    directory: Path
    output: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def children(self) -> list[int]:
        """Process ids of its training process, if one runs."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    async def wait(self, seconds: float = 40) -> int:
        """Its exit status."""
        return await asyncio.to_thread(self.process.wait, seconds)


@pytest.fixture
def start_pod(stack: RunningStack, tmp_path: Path) -> Iterator[Callable[..., PodProcess]]:
    """Starts pods, `name` each with a directory of its own; what still runs is killed at the end, and its log shown."""
    pods: list[PodProcess] = []

    def start(name: str = "pod", **environment: str) -> PodProcess:
        directory = tmp_path / name
        output = tmp_path / f"{name}-{len(pods)}.log"
        variables = (
            stack.environment("pod")
            | {"SPLITRAIL_POD_DIR": str(directory), "SPLITRAIL_WORKER_NAME": name}
            | environment
        )
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "splitrail_pod"],
                env=os.environ | variables,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        pods.append(PodProcess(process, directory, output))
        return pods[-1]

    yield start
    for pod in pods:
        if pod.process.poll() is None:
            pod.process.send_signal(signal.SIGCONT)
            pod.process.kill()
            pod.process.wait()
        print(f"--- {pod.output.name}\n{pod.output.read_text(errors='replace')}")
    for name in SERVICES:
        trouble = [
            line for line in stack.log(name).splitlines() if '"level": "error"' in line or '"level": "warning"' in line
        ]
        print(f"--- {name}, its last warnings\n" + "\n".join(trouble[-10:]))
