"""Stateless rules on what pods say: each broken field is named."""

from dataclasses import replace

import pytest
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail.trainer.v1 import job_pb2
from splitrail_common.errors import PlatformError
from splitrail_trainer.checks import Checker
from splitrail_trainer.jobs.domain import FailureCause, JobKind
from splitrail_trainer.models.domain import ArtifactKind
from splitrail_trainer.queue import convert, validate


def fields(error: pytest.ExceptionInfo[PlatformError]) -> set[str]:
    return {item.field for item in error.value.violations}


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
    good = job_service_pb2.CommitArtifactRequest(
        name="best.pt", kind=job_pb2.ARTIFACT_KIND_BEST_WEIGHTS, size_bytes=1, sha256="0" * 64
    )
    check = Checker()
    left = convert.uploaded_file(good, check)
    validate.uploaded_file(left, check)
    assert left.kind is ArtifactKind.BEST_WEIGHTS
    bad = job_service_pb2.CommitArtifactRequest(name="", kind=99, size_bytes=0, sha256="X", epoch=3)
    left = convert.uploaded_file(bad, check)
    with pytest.raises(PlatformError) as error:
        validate.uploaded_file(left, check)
    assert fields(error) == {"name", "kind", "size_bytes", "sha256"}
    weights_of_an_epoch = replace(convert.uploaded_file(good, Checker()), epoch=3)
    with pytest.raises(PlatformError) as error:
        validate.uploaded_file(weights_of_an_epoch, Checker())
    assert fields(error) == {"epoch"}


def test_a_failure_can_always_be_reported():
    assert convert.cause(job_service_pb2.FailJobRequest(cause=2), Checker()) is FailureCause.NAN
    message = validate.failure_message("a\0" + "x" * 100_000 + "end")
    assert len(message) <= 16_384
    assert message.endswith("end")
    assert "\0" not in validate.failure_message("a\0b")


def test_claims():
    request = job_service_pb2.ClaimJobRequest()
    assert (convert.queue(request), convert.kinds(request, Checker())) == ("default", [JobKind.TRAIN, JobKind.EVALUATE])
    check = Checker()
    convert.kinds(job_service_pb2.ClaimJobRequest(kinds=[0, 7]), check)
    with pytest.raises(PlatformError) as error:
        validate.claim("\n", "default", check)
    assert fields(error) == {"kinds[0]", "kinds[1]", "worker"}
