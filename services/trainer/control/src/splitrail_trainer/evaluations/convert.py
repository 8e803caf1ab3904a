"""Proto <-> domain: evaluations."""

from collections.abc import Mapping

from splitrail.split.v1 import dataset_pb2
from splitrail.trainer.v1 import evaluation_pb2, evaluation_service_pb2, job_pb2

from splitrail_trainer.arguments.convert import arguments, fill
from splitrail_trainer.checks import Checker
from splitrail_trainer.data.convert import PARTS, PARTS_BACK
from splitrail_trainer.evaluations.domain import Evaluation, EvaluationFilter, EvaluationRequest
from splitrail_trainer.jobs.convert import job
from splitrail_trainer.models.convert import KINDS as WEIGHTS
from splitrail_trainer.models.domain import ArtifactKind

_WEIGHTS_BACK: Mapping[int, ArtifactKind] = {
    WEIGHTS[kind]: kind for kind in (ArtifactKind.BEST_WEIGHTS, ArtifactKind.LAST_WEIGHTS)
}


def evaluation_request(request: evaluation_service_pb2.CreateEvaluationRequest, check: Checker) -> EvaluationRequest:
    """What is requested; by default the best weights on the test part. `check` is told of unknown weights and parts."""
    weights = request.weights or job_pb2.ARTIFACT_KIND_BEST_WEIGHTS
    part = request.part or dataset_pb2.PART_TEST
    return EvaluationRequest(
        run_id=request.run_id,
        weights=check.known(_WEIGHTS_BACK, weights, "weights", "best or last weights"),
        split_id=request.split_id,
        part=check.known(PARTS_BACK, part, "part", "PART_TRAIN, PART_VAL or PART_TEST"),
        arguments=arguments(request.arguments),
        force=request.force,
        request_id=request.request_id,
    )


def evaluation_filter(request: evaluation_service_pb2.ListEvaluationsRequest) -> EvaluationFilter:
    """Which evaluations to list."""
    return EvaluationFilter(
        project_id=request.project_id or None,
        run_id=request.run_id or None,
    )


def evaluation(value: Evaluation) -> evaluation_pb2.Evaluation:
    """An evaluation, with its result when it has one."""
    made = evaluation_pb2.Evaluation(
        evaluation_id=value.evaluation_id,
        project_id=value.info.job.project_id,
        run_id=value.run_id,
        run_reference=value.run_reference,
        job=job(value.info),
        weights=WEIGHTS[value.weights],
        split_id=value.split_id,
        split_reference=value.split_reference,
        part=PARTS[value.part],
        contaminated_images=value.contaminated_images,
        number=value.number,
    )
    fill(made.arguments, value.arguments)
    if value.result is not None:
        made.result.ParseFromString(value.result)
    return made
