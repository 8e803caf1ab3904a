"""The RPCs: unpack, check, call the use case, convert."""

from google.protobuf import duration_pb2
from splitrail.trainer.v1 import job_service_pb2, job_service_pb2_grpc, run_service_pb2, run_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context
from splitrail_common.training.arguments import TRAINING, ULTRALYTICS_VERSION
from splitrail_common.training.models import DETECT_MODELS

from splitrail_trainer.arguments.resolve import resolve_training
from splitrail_trainer.queue.service import Attempts, Outcome
from splitrail_trainer.runs import convert, validate
from splitrail_trainer.runs.domain import Run
from splitrail_trainer.runs.service import EvaluationWish, Runs, RunWish

_GROUPS = list(dict.fromkeys(knob.group for knob in TRAINING))


def _before(page_token: str) -> str | None:
    """The id after which a page begins."""
    key = paging.decode(page_token, (str,))
    return str(key[0]) if key else None


class RunServicer(run_service_pb2_grpc.RunServiceServicer):
    """RunService."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def CreateRun(self, request: run_service_pb2.CreateRunRequest, context: Context) -> run_service_pb2.CreateRunResponse:
        arguments = convert.arguments(request.arguments)
        resolved = resolve_training(arguments)
        queue = validate.create_run(request, resolved.violations)
        wish = RunWish(
            project_id=validate.project(request.project_id),
            data=request.data,
            split_id=request.split_id,
            model=request.model,
            arguments=arguments,
            resolved=resolved.arguments,
            request_id=request.request_id,
            queue=queue,
            external_id=request.external_id,
            labels=dict(request.labels),
        )
        run = await self._runs.create_run(current_call(), wish)
        return run_service_pb2.CreateRunResponse(run=convert.run(run), warnings=resolved.warnings)

    async def GetRun(self, request: run_service_pb2.GetRunRequest, context: Context) -> run_service_pb2.GetRunResponse:
        run = await self._runs.run(current_call().scope, validate.identifier(request.run_id, "run_id"))
        return run_service_pb2.GetRunResponse(run=convert.run(run))

    async def ResolveRun(self, request: run_service_pb2.ResolveRunRequest, context: Context) -> run_service_pb2.ResolveRunResponse:
        project_id, reference = validate.project(request.project_id), validate.run_reference(request.reference)
        run = await self._runs.resolve_run(current_call().scope, project_id, reference)
        return run_service_pb2.ResolveRunResponse(run=convert.run(run))

    async def ListRuns(self, request: run_service_pb2.ListRunsRequest, context: Context) -> run_service_pb2.ListRunsResponse:
        size = paging.page_size(request.page_size)
        found = await self._runs.runs(current_call().scope, validate.run_filter(request), _before(request.page_token), size + 1)
        runs = [convert.run(run) for run in found[:size]]
        count = paging.fitting(runs)
        token = paging.encode([runs[count - 1].run_id]) if len(found) > count else ""
        return run_service_pb2.ListRunsResponse(runs=runs[:count], next_page_token=token)

    async def CancelRun(self, request: run_service_pb2.CancelRunRequest, context: Context) -> run_service_pb2.CancelRunResponse:
        run = await self._runs.cancel_run(current_call().scope, validate.identifier(request.run_id, "run_id"))
        return run_service_pb2.CancelRunResponse(run=convert.run(run))

    async def ListArtifacts(self, request: run_service_pb2.ListArtifactsRequest, context: Context) -> run_service_pb2.ListArtifactsResponse:
        run = await self._runs.run(current_call().scope, validate.identifier(request.run_id, "run_id"))
        files = [convert.artifact(item, self._runs.sign) for item in run.artifacts]
        return run_service_pb2.ListArtifactsResponse(artifacts=sorted(files, key=lambda item: (item.kind, item.name)))

    async def GetTrainingSchema(
        self, request: run_service_pb2.GetTrainingSchemaRequest, context: Context
    ) -> run_service_pb2.GetTrainingSchemaResponse:
        validate.task(request.task)
        knobs = sorted(TRAINING, key=lambda knob: (_GROUPS.index(knob.group), knob.name))
        return run_service_pb2.GetTrainingSchemaResponse(
            arguments=[convert.descriptor(knob) for knob in knobs], models=DETECT_MODELS, ultralytics_version=ULTRALYTICS_VERSION
        )

    async def CreateEvaluation(self, request: run_service_pb2.CreateEvaluationRequest, context: Context) -> run_service_pb2.CreateEvaluationResponse:
        weights, part = validate.create_evaluation(request)
        wish = EvaluationWish(
            run_id=request.run_id,
            weights=weights,
            split_id=request.split_id,
            part=part,
            arguments=convert.arguments(request.arguments),
            force=request.force,
            request_id=request.request_id,
        )
        evaluation = await self._runs.create_evaluation(current_call(), wish)
        return run_service_pb2.CreateEvaluationResponse(evaluation=convert.evaluation(evaluation))

    async def GetEvaluation(self, request: run_service_pb2.GetEvaluationRequest, context: Context) -> run_service_pb2.GetEvaluationResponse:
        evaluation_id = validate.identifier(request.evaluation_id, "evaluation_id")
        evaluation = await self._runs.evaluation(current_call().scope, evaluation_id)
        return run_service_pb2.GetEvaluationResponse(evaluation=convert.evaluation(evaluation))

    async def ListEvaluations(self, request: run_service_pb2.ListEvaluationsRequest, context: Context) -> run_service_pb2.ListEvaluationsResponse:
        size = paging.page_size(request.page_size)
        project_id = validate.project(request.project_id) if request.project_id else None
        run_id = validate.optional_identifier(request.run_id, "run_id")
        found = await self._runs.evaluations(current_call().scope, project_id, run_id, _before(request.page_token), size + 1)
        made = [convert.evaluation(evaluation) for evaluation in found[:size]]
        count = paging.fitting(made)
        token = paging.encode([made[count - 1].evaluation_id]) if len(found) > count else ""
        return run_service_pb2.ListEvaluationsResponse(evaluations=made[:count], next_page_token=token)

    async def CancelEvaluation(self, request: run_service_pb2.CancelEvaluationRequest, context: Context) -> run_service_pb2.CancelEvaluationResponse:
        evaluation_id = validate.identifier(request.evaluation_id, "evaluation_id")
        evaluation = await self._runs.cancel_evaluation(current_call().scope, evaluation_id)
        return run_service_pb2.CancelEvaluationResponse(evaluation=convert.evaluation(evaluation))


class JobServicer(job_service_pb2_grpc.JobServiceServicer):
    """JobService."""

    def __init__(self, attempts: Attempts, *, lease_seconds: float) -> None:
        self._attempts = attempts
        self._lease = duration_pb2.Duration()
        self._lease.FromNanoseconds(int(lease_seconds * 1e9))

    async def ClaimJob(self, request: job_service_pb2.ClaimJobRequest, context: Context) -> job_service_pb2.ClaimJobResponse:
        queue, kinds = validate.claim(request)
        claimed = await self._attempts.claim(request.worker or current_call().caller.subject, queue, kinds)
        if claimed is None:
            return job_service_pb2.ClaimJobResponse()
        job = job_service_pb2.ClaimedJob(
            job_id=claimed.job.job_id,
            project_id=claimed.job.project_id,
            attempt=claimed.job.attempt,
            attempt_token=claimed.token,
            lease_duration=self._lease,
        )
        if isinstance(claimed.work, Run):
            job.train.CopyFrom(convert.train_work(claimed.work, self._attempts.sign))
        else:
            job.evaluate.CopyFrom(convert.evaluate_work(claimed.work, self._attempts.sign))
        return job_service_pb2.ClaimJobResponse(job=job)

    async def Heartbeat(self, request: job_service_pb2.HeartbeatRequest, context: Context) -> job_service_pb2.HeartbeatResponse:
        orders = await self._attempts.heartbeat(current_call().caller, request.job_id)
        return job_service_pb2.HeartbeatResponse(cancel=orders.cancel, attempt_token=orders.token)

    async def CreateUploads(self, request: job_service_pb2.CreateUploadsRequest, context: Context) -> job_service_pb2.CreateUploadsResponse:
        made = await self._attempts.create_uploads(current_call().caller, request.job_id, validate.uploads(request.names))
        return job_service_pb2.CreateUploadsResponse(targets=[job_service_pb2.UploadTarget(name=name, key=key, url=url) for name, key, url in made])

    async def CommitArtifact(self, request: job_service_pb2.CommitArtifactRequest, context: Context) -> job_service_pb2.CommitArtifactResponse:
        kind = validate.commit_artifact(request)
        await self._attempts.commit_artifact(
            current_call().caller,
            request.job_id,
            name=request.name,
            kind=kind,
            size_bytes=request.size_bytes,
            sha256=request.sha256,
            epoch=request.epoch,
        )
        return job_service_pb2.CommitArtifactResponse()

    async def CompleteJob(self, request: job_service_pb2.CompleteJobRequest, context: Context) -> job_service_pb2.CompleteJobResponse:
        outcome = None
        if request.HasField("evaluation"):
            outcome = Outcome(convert.PARTS_BACK.get(request.evaluation.split), request.evaluation.SerializeToString())
        await self._attempts.complete(current_call().caller, request.job_id, validate.versions(request.versions), outcome)
        return job_service_pb2.CompleteJobResponse()

    async def FailJob(self, request: job_service_pb2.FailJobRequest, context: Context) -> job_service_pb2.FailJobResponse:
        cause, message = validate.failure(request)
        return job_service_pb2.FailJobResponse(retried=await self._attempts.fail(current_call().caller, request.job_id, cause, message))

    async def ReleaseJob(self, request: job_service_pb2.ReleaseJobRequest, context: Context) -> job_service_pb2.ReleaseJobResponse:
        await self._attempts.release(current_call().caller, request.job_id)
        return job_service_pb2.ReleaseJobResponse()
