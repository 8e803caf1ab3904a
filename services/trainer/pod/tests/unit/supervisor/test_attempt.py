"""An attempt whose own background tasks break, in front of a real gRPC server; every other service is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from nats.aio.client import Client
from pydantic import SecretStr
from splitrail.internal.trainer.v1 import job_service_pb2, job_service_pb2_grpc
from splitrail_pod.settings import PodSettings
from splitrail_pod.supervisor import host
from splitrail_pod.supervisor.attempt import Attempt
from splitrail_pod.supervisor.context import Pod
from splitrail_pod.supervisor.failures import FailureCause
from splitrail_pod.supervisor.feed import Feed
from splitrail_pod.supervisor.lease import Lease
from splitrail_pod.supervisor.network.calls import Channels
from splitrail_pod.supervisor.network.transfer import Transfer, open_client
from splitrail_pod.supervisor.phases import end
from splitrail_pod.supervisor.progress import ProgressRelay
from splitrail_pod.supervisor.results.uploads import CheckpointUploader
from splitrail_pod.supervisor.staging.cache import ContentCache


class Jobs(job_service_pb2_grpc.JobServiceServicer):
    """Takes heartbeats and failures."""

    def __init__(self) -> None:
        self.failures: list[job_service_pb2.FailJobRequest] = []

    async def Heartbeat(self, request: Any, context: Any) -> job_service_pb2.HeartbeatResponse:
        return job_service_pb2.HeartbeatResponse()

    async def FailJob(self, request: Any, context: Any) -> job_service_pb2.FailJobResponse:
        self.failures.append(request)
        return job_service_pb2.FailJobResponse(retried=True)


@asynccontextmanager
async def running_pod(jobs: Jobs, folder: Path) -> AsyncIterator[Pod]:
    server = grpc.aio.server()
    job_service_pb2_grpc.add_JobServiceServicer_to_server(jobs, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    settings = PodSettings(
        split_address=address,  # where nobody serves splits or metrics
        trainer_address=address,
        metrics_address=address,
        nats_url=SecretStr("nats://127.0.0.1:1"),
        worker_token_file=folder / "token",
        pod_dir=folder,
    )
    try:
        async with grpc.aio.insecure_channel(address) as channel, open_client(1) as client:
            yield Pod(
                settings=settings,
                channels=Channels(channel, channel, channel),
                nats=Client(),
                transfer=Transfer(client, 20),
                training_cache=ContentCache(folder / "train", 0),
                evaluation_cache=ContentCache(folder / "evaluate", 0),
                device=host.Device("cpu", "cpu"),
                draining=asyncio.Event(),
            )
    finally:
        await server.stop(None)


@pytest.mark.parametrize("task", [Feed, Lease, ProgressRelay, CheckpointUploader])
async def test_a_defect_of_a_background_task_fails_the_job_and_not_the_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: type[Any]
) -> None:
    async def broken(self: object) -> None:
        raise LookupError("what nobody thought of")

    async def busy(self: Attempt) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(end, "FLUSH_SECONDS", 0.1)  # nothing gets through here
    monkeypatch.setattr(Attempt, "_work", busy)
    monkeypatch.setattr(task, "run", broken)
    jobs = Jobs()
    job = job_service_pb2.ClaimedJob(job_id="job", attempt=1, attempt_token="t", lease_duration=Duration(seconds=60))
    job.train.model = "yolov8n"
    async with running_pod(jobs, tmp_path) as pod:
        await asyncio.wait_for(Attempt(pod, job).run(), 30)
    (failure,) = jobs.failures
    assert (failure.job_id, failure.cause) == ("job", FailureCause.FAILURE_CAUSE_PROCESS)
    assert failure.message == "a defect of the pod: LookupError: what nobody thought of"
    assert not (tmp_path / "jobs" / "job").exists()
