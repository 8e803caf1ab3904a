"""Requests that are sent twice, and the keys of labels."""

import pytest
from splitrail.split.v1 import dataset_service_pb2, project_service_pb2
from splitrail_common.errors import PlatformError
from splitrail_common.labels import key_problems
from splitrail_common.repeats import RequestKey


def request(**fields):
    return project_service_pb2.CreateProjectRequest(**{"project_id": "lab", "request_id": "r", **fields})


def test_a_request_that_is_sent_again_is_known():
    labels = {str(number): "x" for number in range(20)}
    key = RequestKey.of(request(labels=labels))
    assert (key.request_id, len(key.digest)) == ("r", 32)
    key.require_same(RequestKey.of(request(labels=dict(reversed(labels.items())))).digest)
    key.require_same(RequestKey.of(request(labels=labels, request_id="other")).digest)
    key.require_same(b"")


@pytest.mark.parametrize(
    "other",
    [request(external_id="e"), request(labels={"a": ""}), dataset_service_pb2.CreateDatasetRequest(project_id="lab")],
)
def test_another_request_with_its_id_is_refused(other):
    with pytest.raises(PlatformError) as error:
        RequestKey.of(request()).require_same(RequestKey.of(other).digest)
    assert [one.field for one in error.value.violations] == ["request_id"]


def test_keys_of_labels():
    assert key_problems("labels", {"a b": "", "k" * 128: "", "\n": ""}) == []
    assert [one.field for one in key_problems("labels", {"": "x", "k" * 129: "x"})] == [
        "labels[]",
        f"labels[{'k' * 100}]",
    ]
