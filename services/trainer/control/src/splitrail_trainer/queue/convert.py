"""Proto <-> domain: what pods get and report."""

from google.protobuf import duration_pb2
from splitrail.events.v1 import event_pb2
from splitrail.internal.trainer.v1 import job_service_pb2

from splitrail_trainer.arguments.convert import fill
from splitrail_trainer.checks import Checker
from splitrail_trainer.data.convert import PARTS, PARTS_BACK
from splitrail_trainer.evaluations.domain import Evaluation
from splitrail_trainer.jobs.convert import CAUSES_BACK, KINDS_BACK
from splitrail_trainer.jobs.domain import DEFAULT_QUEUE, FailureCause, JobKind
from splitrail_trainer.models.convert import KIND_NAMES
from splitrail_trainer.models.convert import KINDS_BACK as FILE_KINDS_BACK
from splitrail_trainer.queue.domain import ClaimedJob, EvaluationReport, UploadedFile
from splitrail_trainer.runs.domain import Run

_CAUSE_NAMES = ", ".join(event_pb2.FailureCause.keys())


def queue(request: job_service_pb2.ClaimJobRequest) -> str:
    """The queue to claim from."""
    return request.queue or DEFAULT_QUEUE


def kinds(request: job_service_pb2.ClaimJobRequest, check: Checker) -> list[JobKind]:
    """The kinds of jobs that the pod can do; by default all. `check` is told of unknown ones."""
    found = [
        check.known(KINDS_BACK, kind, f"kinds[{index}]", "JOB_KIND_TRAIN or JOB_KIND_EVALUATE")
        for index, kind in enumerate(request.kinds)
    ]
    return found or list(JobKind)


def uploaded_file(request: job_service_pb2.CommitArtifactRequest, check: Checker) -> UploadedFile:
    """The file that an attempt has left. `check` is told of an unknown kind."""
    return UploadedFile(
        name=request.name,
        kind=check.known(FILE_KINDS_BACK, request.kind, "kind", f"one of {', '.join(KIND_NAMES)}"),
        size_bytes=request.size_bytes,
        sha256=request.sha256,
        epoch=request.epoch,
    )


def cause(request: job_service_pb2.FailJobRequest, check: Checker) -> FailureCause:
    """Why the attempt failed. `check` is told of an unknown cause."""
    return check.known(CAUSES_BACK, request.cause, "cause", f"one of {_CAUSE_NAMES}")


def report(request: job_service_pb2.CompleteJobRequest) -> EvaluationReport | None:
    """What an evaluation found, if the request says it."""
    if not request.HasField("evaluation"):
        return None
    return EvaluationReport(PARTS_BACK.get(request.evaluation.part), request.evaluation.SerializeToString())


def claimed_job(value: ClaimedJob, *, lease_seconds: float) -> job_service_pb2.ClaimedJob:
    """A job with all that its pod needs."""
    lease = duration_pb2.Duration()
    lease.FromNanoseconds(int(lease_seconds * 1e9))
    made = job_service_pb2.ClaimedJob(
        job_id=value.job.job_id,
        project_id=value.job.project_id,
        attempt=value.job.attempt,
        attempt_token=value.token,
        lease_duration=lease,
    )
    if isinstance(value.work, Run):
        made.train.CopyFrom(_train_work(value.work, value.url))
    else:
        made.evaluate.CopyFrom(_evaluate_work(value.work, value.url))
    return made


def _train_work(value: Run, url: str) -> job_service_pb2.TrainWork:
    made = job_service_pb2.TrainWork(split_id=value.data.split_id, model=value.model)
    fill(made.arguments, value.resolved)
    if value.checkpoint:
        file = value.checkpoint.file
        made.resume.CopyFrom(
            job_service_pb2.ResumePoint(
                epoch=value.checkpoint.epoch, url=url, sha256=file.sha256, size_bytes=file.size_bytes
            )
        )
    return made


def _evaluate_work(value: Evaluation, url: str) -> job_service_pb2.EvaluateWork:
    made = job_service_pb2.EvaluateWork(
        split_id=value.split_id,
        part=PARTS[value.part],
        weights_url=url,
        weights_sha256=value.weights_file.sha256,
        weights_size_bytes=value.weights_file.size_bytes,
    )
    fill(made.arguments, value.arguments)
    return made
