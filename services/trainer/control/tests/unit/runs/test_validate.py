"""Stateless rules: each broken field is named."""

import pytest
from google.protobuf import struct_pb2
from splitrail.split.v1 import dataset_pb2
from splitrail.trainer.v1 import job_service_pb2, run_pb2, run_service_pb2
from splitrail_common.errors import PlatformError
from splitrail_trainer.jobs.domain import Cause, Kind
from splitrail_trainer.runs import convert, validate
from splitrail_trainer.runs.domain import ArtifactKind, Part

RUN = "0192f6f0-0000-7000-8000-000000000000"


def fields(error: pytest.ExceptionInfo[PlatformError]) -> set[str]:
    return {item.field for item in error.value.violations}


def test_a_run_names_all_that_is_wrong():
    request = run_service_pb2.CreateRunRequest(
        model="../x.pt", split_id="x", request_id="r" * 129, queue="a b", labels={"a b": "v", "k": "v" * 300}, external_id="\0"
    )
    with pytest.raises(PlatformError) as error:
        validate.create_run(request, [])
    assert fields(error) == {"model", "split_id", "request_id", "queue", "labels.a b", "labels.k", "external_id"}
    with pytest.raises(PlatformError) as error:
        validate.create_run(run_service_pb2.CreateRunRequest(model="yolov8n"), [])
    assert fields(error) == {"data"}


def test_a_run_in_the_default_queue():
    assert validate.create_run(run_service_pb2.CreateRunRequest(model="yolo26x", data="cells"), []) == "default"


@pytest.mark.parametrize(("text", "meaning"), [("cells/17", ("cells", 17)), (RUN, RUN)])
def test_references(text, meaning):
    assert validate.run_reference(text) == meaning


@pytest.mark.parametrize("text", ["", "cells", "cells/0", "cells/-1", "cells/x", "/1", "a b/1", "../x/1", "cells/9999999999", RUN.upper()])
def test_what_is_no_reference(text):
    with pytest.raises(PlatformError) as error:
        validate.run_reference(text)
    assert fields(error) == {"reference"}


@pytest.mark.parametrize("name", ["", "..", ".x", "a/b", "a\\b", "a\0", "ü", "a" * 129, "-rf", "%2e%2e"])
def test_file_names_cannot_leave_their_prefix(name):
    with pytest.raises(PlatformError) as error:
        validate.uploads([name])
    assert fields(error) == {"names[0]"}


def test_uploads_are_few_and_different():
    for names in ([], ["a", "a"], [f"f{n}" for n in range(201)]):
        with pytest.raises(PlatformError) as error:
            validate.uploads(names)
        assert fields(error) == {"names"}
    assert validate.uploads(["best.pt", "epoch-12.ckpt"]) == ["best.pt", "epoch-12.ckpt"]


def test_artifacts():
    good = job_service_pb2.CommitArtifactRequest(name="best.pt", kind=run_pb2.ARTIFACT_KIND_BEST_WEIGHTS, size_bytes=1, sha256="0" * 64)
    assert validate.commit_artifact(good) is ArtifactKind.BEST_WEIGHTS
    bad = job_service_pb2.CommitArtifactRequest(name="", kind=99, size_bytes=0, sha256="X", epoch=3)
    with pytest.raises(PlatformError) as error:
        validate.commit_artifact(bad)
    assert fields(error) == {"name", "kind", "size_bytes", "sha256", "epoch"}


def test_a_failure_can_always_be_reported():
    cause, message = validate.failure(job_service_pb2.FailJobRequest(cause=2, message="a\0" + "x" * 100_000 + "end"))
    assert cause is Cause.NAN
    assert len(message) <= 16_384
    assert message.endswith("end")
    assert "\0" not in validate.failure(job_service_pb2.FailJobRequest(message="a\0b"))[1]


def test_claims():
    assert validate.claim(job_service_pb2.ClaimJobRequest()) == ("default", [Kind.TRAIN, Kind.EVALUATE])
    with pytest.raises(PlatformError) as error:
        validate.claim(job_service_pb2.ClaimJobRequest(kinds=[0, 7], worker="\n"))
    assert fields(error) == {"kinds[0]", "kinds[1]", "worker"}


def test_evaluations():
    assert validate.create_evaluation(run_service_pb2.CreateEvaluationRequest(run_id=RUN)) == (ArtifactKind.BEST_WEIGHTS, Part.TEST)
    with pytest.raises(PlatformError) as error:
        validate.create_evaluation(
            run_service_pb2.CreateEvaluationRequest(run_id="x", weights=run_pb2.ARTIFACT_KIND_CHECKPOINT, split=77, split_id="y")
        )
    assert fields(error) == {"run_id", "weights", "split", "split_id"}


def test_only_detection():
    validate.task(dataset_pb2.TASK_DETECT)
    with pytest.raises(PlatformError):
        validate.task(dataset_pb2.TASK_POSE)


def test_values_of_requests():
    listed = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[struct_pb2.Value(number_value=1)]))
    values = {
        "n": struct_pb2.Value(number_value=1.5),
        "b": struct_pb2.Value(bool_value=True),
        "s": struct_pb2.Value(string_value="x"),
        "z": struct_pb2.Value(null_value=struct_pb2.NULL_VALUE),
        "none": struct_pb2.Value(),
    }
    assert convert.arguments(values) == {"n": 1.5, "b": True, "s": "x", "z": None, "none": None}
    assert isinstance(convert.arguments({"l": listed})["l"], list)
