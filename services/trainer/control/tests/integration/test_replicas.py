"""Two replicas of the service on one database: nothing is claimed twice, no state is told twice."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import struct_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from splitrail.internal.trainer.v1 import job_service_pb2, job_service_pb2_grpc
from splitrail.metrics.v1 import metrics_service_pb2
from splitrail.trainer.v1 import run_service_pb2, run_service_pb2_grpc
from splitrail_common.ids import new_id
from splitrail_local.testing import RunningStack, eventually

pytestmark = pytest.mark.integration
RUNS = 12


@pytest.fixture
def replica(services: RunningStack, tmp_path: Path) -> Iterator[str]:
    """The address of a second process with the settings of the first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = (
        os.environ | services.environment("trainer") | {"SPLITRAIL_LISTEN": address, "SPLITRAIL_LEASE_SECONDS": "60"}
    )
    with (tmp_path / "replica.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "splitrail_trainer"], env=environment, stderr=log)
    try:
        yield address
    finally:
        process.terminate()
        assert process.wait(30) == 0, (tmp_path / "replica.log").read_text()
    assert '"defect"' not in (tmp_path / "replica.log").read_text()


async def states(wire, run_id: str) -> list[tuple[int, int]]:
    """(state, attempt) of a closed feed."""
    found = []
    async for answer in wire.metrics.WatchRun(metrics_service_pb2.WatchRunRequest(run_id=run_id), **wire.user()):
        if answer.HasField("event"):
            found.append((answer.event.state.state, answer.event.state.attempt))
    return found


async def test_two_replicas_share_the_work(wire, data, replica):
    async with grpc.aio.insecure_channel(replica) as channel:

        async def serving():
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
            except grpc.aio.AioRpcError:
                return False
            return answer.status == health_pb2.HealthCheckResponse.SERVING

        await eventually(serving, "the replica serves", 60)
        queue = f"q{new_id()[-8:]}"
        run_stubs = [wire.runs, run_service_pb2_grpc.RunServiceStub(channel)]
        job_stubs = [wire.jobs, job_service_pb2_grpc.JobServiceStub(channel)]
        request = run_service_pb2.CreateRunRequest(
            data=data.reference, model="yolov8n", queue=queue, arguments={"epochs": struct_pb2.Value(number_value=1)}
        )
        made = await asyncio.gather(
            *(run_stubs[number % 2].CreateRun(request, **wire.user()) for number in range(RUNS))
        )
        assert sorted(answer.run.number for answer in made) == list(range(1, RUNS + 1))

        async def pod(number: int) -> list[str]:
            done = []
            claim = job_service_pb2.ClaimJobRequest(worker=f"pod-{number}", queue=queue)
            while (answer := await job_stubs[number % 2].ClaimJob(claim, **wire.worker())).HasField("job"):
                options = wire.attempt(answer.job.attempt_token)
                await job_stubs[(number + 1) % 2].CompleteJob(
                    job_service_pb2.CompleteJobRequest(job_id=answer.job.job_id), **options
                )
                done.append(answer.job.job_id)
            return done

        done = [job_id for jobs in await asyncio.gather(*(pod(number) for number in range(4))) for job_id in jobs]
        assert sorted(done) == sorted(answer.run.run_id for answer in made)
        for feed in await asyncio.wait_for(asyncio.gather(*(states(wire, job_id) for job_id in done)), 60):
            assert feed == [(1, 0), (2, 1), (3, 1)]
