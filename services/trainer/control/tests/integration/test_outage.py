"""Postgres goes away for longer than a lease, and comes back: no pod loses its job for it, no call is a defect, the
service stays.
"""

import asyncio

import grpc
import pytest
from google.protobuf import struct_pb2
from splitrail.events.v1 import event_pb2
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail.trainer.v1 import run_service_pb2
from splitrail_common.ids import new_id
from splitrail_local.supervisor import Control
from splitrail_local.testing import eventually

pytestmark = pytest.mark.integration


async def test_an_outage_of_postgres_takes_no_job_away(wire, data, services):
    queue = f"q{new_id()[-8:]}"
    request = run_service_pb2.CreateRunRequest(
        data=data.reference, model="yolov8n", queue=queue, arguments={"epochs": struct_pb2.Value(number_value=3)}
    )
    run = (await wire.runs.CreateRun(request, **wire.user())).run
    job = (await wire.jobs.ClaimJob(job_service_pb2.ClaimJobRequest(worker="holder", queue=queue), **wire.worker())).job
    lease = job.lease_duration.ToTimedelta().total_seconds()
    before = services.pid("trainer")
    control = Control(services.state)

    await asyncio.to_thread(control.stop, "postgres")

    async def refusal():
        try:
            await wire.runs.GetRun(run_service_pb2.GetRunRequest(run_id=run.run_id), **wire.user())
        except grpc.aio.AioRpcError as error:
            return error.code()
        return None  # answered before the server was gone

    assert await eventually(refusal, "the database is gone", 30) is grpc.StatusCode.UNAVAILABLE
    await asyncio.sleep(lease + 1)  # time is what this test is about: the lease is over
    await asyncio.to_thread(control.start, "postgres")

    async def answer():
        thief = job_service_pb2.ClaimJobRequest(worker="thief", queue=queue)
        try:
            return await wire.jobs.ClaimJob(thief, **wire.worker())
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return None
            raise

    stolen = await eventually(answer, "the database is back", 60)
    assert not stolen.HasField("job"), "the database is back, the holder has not had its time yet"
    heartbeat = job_service_pb2.HeartbeatRequest(job_id=run.run_id)
    assert not (await wire.jobs.Heartbeat(heartbeat, **wire.attempt(job.attempt_token))).cancel
    found = (await wire.runs.GetRun(run_service_pb2.GetRunRequest(run_id=run.run_id), **wire.user())).run.job
    assert (found.state, found.attempt, found.failures) == (event_pb2.JOB_STATE_RUNNING, 1, 0)
    assert services.pid("trainer") == before
    await wire.jobs.ReleaseJob(job_service_pb2.ReleaseJobRequest(job_id=run.run_id), **wire.attempt(job.attempt_token))
