"""JobService: unpack, check, call the use case, convert."""

from splitrail.internal.trainer.v1 import job_service_pb2 as api
from splitrail.internal.trainer.v1 import job_service_pb2_grpc
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

    async def ClaimJob(self, request: api.ClaimJobRequest, context: Context) -> api.ClaimJobResponse:
        check = Checker()
        queue, kinds = convert.queue(request), convert.kinds(request, check)
        validate.claim(request.worker, queue, check)
        claimed = await self._attempts.claim(request.worker or current_call().caller.subject, queue, kinds)
        if claimed is None:
            return api.ClaimJobResponse()
        return api.ClaimJobResponse(job=convert.claimed_job(claimed, lease_seconds=self._lease_seconds))

    async def Heartbeat(self, request: api.HeartbeatRequest, context: Context) -> api.HeartbeatResponse:
        orders = await self._attempts.heartbeat(current_call().caller, request.job_id)
        return api.HeartbeatResponse(cancel=orders.cancel, attempt_token=orders.token)

    async def CreateUploads(self, request: api.CreateUploadsRequest, context: Context) -> api.CreateUploadsResponse:
        made = await self._attempts.create_uploads(
            current_call().caller, request.job_id, validate.uploads(request.names)
        )
        return api.CreateUploadsResponse(
            targets=[api.UploadTarget(name=name, key=key, url=url) for name, key, url in made]
        )

    async def CommitArtifact(self, request: api.CommitArtifactRequest, context: Context) -> api.CommitArtifactResponse:
        check = Checker()
        file = convert.uploaded_file(request, check)
        validate.uploaded_file(file, check)
        await self._attempts.commit_artifact(current_call().caller, request.job_id, file)
        return api.CommitArtifactResponse()

    async def CompleteJob(self, request: api.CompleteJobRequest, context: Context) -> api.CompleteJobResponse:
        versions = validate.versions(request.versions)
        await self._attempts.complete(current_call().caller, request.job_id, versions, convert.report(request))
        return api.CompleteJobResponse()

    async def FailJob(self, request: api.FailJobRequest, context: Context) -> api.FailJobResponse:
        check = Checker()
        cause, message = convert.cause(request, check), validate.failure_message(request.message)
        check.done()
        return api.FailJobResponse(
            retried=await self._attempts.fail(current_call().caller, request.job_id, cause, message)
        )

    async def ReleaseJob(self, request: api.ReleaseJobRequest, context: Context) -> api.ReleaseJobResponse:
        await self._attempts.release(current_call().caller, request.job_id)
        return api.ReleaseJobResponse()
