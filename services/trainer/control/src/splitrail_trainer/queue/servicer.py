"""JobService: unpack, check, call the use case, convert."""

from splitrail.trainer.v1 import job_service_pb2, job_service_pb2_grpc
from splitrail_common.access import current_call
from splitrail_common.boundary import Context

from splitrail_trainer.checks import Checker
from splitrail_trainer.queue import convert, validate
from splitrail_trainer.queue.service import Attempts


class JobServicer(job_service_pb2_grpc.JobServiceServicer):
    """JobService."""

    def __init__(self, attempts: Attempts, *, lease_seconds: float) -> None:
        self._attempts = attempts
        self._lease_seconds = lease_seconds

    async def ClaimJob(self, request: job_service_pb2.ClaimJobRequest, context: Context) -> job_service_pb2.ClaimJobResponse:
        check = Checker()
        queue, kinds = convert.queue(request), convert.kinds(request, check)
        validate.claim(request.worker, queue, check)
        claimed = await self._attempts.claim(request.worker or current_call().caller.subject, queue, kinds)
        if claimed is None:
            return job_service_pb2.ClaimJobResponse()
        return job_service_pb2.ClaimJobResponse(job=convert.claimed_job(claimed, self._attempts.sign, lease_seconds=self._lease_seconds))

    async def Heartbeat(self, request: job_service_pb2.HeartbeatRequest, context: Context) -> job_service_pb2.HeartbeatResponse:
        orders = await self._attempts.heartbeat(current_call().caller, request.job_id)
        return job_service_pb2.HeartbeatResponse(cancel=orders.cancel, attempt_token=orders.token)

    async def CreateUploads(self, request: job_service_pb2.CreateUploadsRequest, context: Context) -> job_service_pb2.CreateUploadsResponse:
        made = await self._attempts.create_uploads(current_call().caller, request.job_id, validate.uploads(request.names))
        return job_service_pb2.CreateUploadsResponse(targets=[job_service_pb2.UploadTarget(name=name, key=key, url=url) for name, key, url in made])

    async def CommitArtifact(self, request: job_service_pb2.CommitArtifactRequest, context: Context) -> job_service_pb2.CommitArtifactResponse:
        check = Checker()
        left = convert.left_file(request, check)
        validate.left_file(left, check)
        await self._attempts.commit_artifact(current_call().caller, request.job_id, left)
        return job_service_pb2.CommitArtifactResponse()

    async def CompleteJob(self, request: job_service_pb2.CompleteJobRequest, context: Context) -> job_service_pb2.CompleteJobResponse:
        versions = validate.versions(request.versions)
        await self._attempts.complete(current_call().caller, request.job_id, versions, convert.outcome(request))
        return job_service_pb2.CompleteJobResponse()

    async def FailJob(self, request: job_service_pb2.FailJobRequest, context: Context) -> job_service_pb2.FailJobResponse:
        check = Checker()
        cause, message = convert.cause(request, check), validate.failure_message(request.message)
        check.done()
        return job_service_pb2.FailJobResponse(retried=await self._attempts.fail(current_call().caller, request.job_id, cause, message))

    async def ReleaseJob(self, request: job_service_pb2.ReleaseJobRequest, context: Context) -> job_service_pb2.ReleaseJobResponse:
        await self._attempts.release(current_call().caller, request.job_id)
        return job_service_pb2.ReleaseJobResponse()
