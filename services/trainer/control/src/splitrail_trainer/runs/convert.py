"""Proto <-> domain: runs."""

from splitrail.trainer.v1 import run_pb2, run_service_pb2
from splitrail_common.ids import DEFAULT_PROJECT

from splitrail_trainer.arguments.convert import arguments, fill
from splitrail_trainer.jobs.convert import STATES_BACK, job
from splitrail_trainer.jobs.domain import DEFAULT_QUEUE
from splitrail_trainer.models.convert import artifact
from splitrail_trainer.runs.domain import Run, RunFilter, RunRequest


def run_request(request: run_service_pb2.CreateRunRequest) -> RunRequest:
    """What is requested, with defaults."""
    return RunRequest(
        project_id=request.project_id or DEFAULT_PROJECT,
        data=request.data,
        split_id=request.split_id,
        model=request.model,
        arguments=arguments(request.arguments),
        request_id=request.request_id,
        queue=request.queue or DEFAULT_QUEUE,
        external_id=request.external_id,
        labels=dict(request.labels),
    )


def run_filter(request: run_service_pb2.ListRunsRequest) -> RunFilter:
    """Which runs to list."""
    return RunFilter(
        project_id=request.project_id or None,
        dataset_id=request.dataset_id or None,
        state=STATES_BACK[request.state] if request.state else None,
        external_id=request.external_id or None,
    )


def run(value: Run) -> run_pb2.Run:
    """A run with its files, without URLs."""
    made = run_pb2.Run(
        run_id=value.run_id,
        project_id=value.data.project_id,
        number=value.number,
        reference=value.reference,
        job=job(value.info),
        dataset_id=value.data.dataset_id,
        version_id=value.data.version_id,
        split_id=value.data.split_id,
        split_reference=value.data.split_reference,
        split_digest=value.data.split_digest,
        model=value.model,
        epochs=value.epochs,
        checkpoint_epoch=value.checkpoint.epoch if value.checkpoint else 0,
        artifacts=[artifact(item) for item in value.artifacts],
        external_id=value.external_id,
        labels=value.labels,
        class_names=value.data.class_names,
        versions=value.versions,
    )
    fill(made.arguments, value.arguments)
    fill(made.resolved_arguments, value.resolved)
    return made
