"""Requests for evaluations: their defaults, and each field that cannot be meant is named."""

import pytest
from splitrail.trainer.v1 import evaluation_service_pb2, job_pb2
from splitrail_common.errors import PlatformError
from splitrail_trainer.checks import Checker
from splitrail_trainer.data.domain import Part
from splitrail_trainer.evaluations import convert
from splitrail_trainer.models.domain import ArtifactKind

RUN = "0192f6f0-0000-7000-8000-000000000000"


def test_evaluations():
    wanted = convert.evaluation_request(evaluation_service_pb2.CreateEvaluationRequest(run_id=RUN), Checker())
    assert (wanted.weights, wanted.part) == (ArtifactKind.BEST_WEIGHTS, Part.TEST)
    check = Checker()
    request = evaluation_service_pb2.CreateEvaluationRequest(
        run_id=RUN, weights=job_pb2.ARTIFACT_KIND_CHECKPOINT, part=77
    )
    convert.evaluation_request(request, check)
    with pytest.raises(PlatformError) as error:
        check.done()
    assert {item.field for item in error.value.violations} == {"weights", "part"}
