"""Stateless rules on runs: each broken field is named."""

import pytest
from splitrail.trainer.v1 import run_service_pb2
from splitrail_common.errors import PlatformError
from splitrail_trainer.runs import convert, validate

RUN = "0192f6f0-0000-7000-8000-000000000000"


def fields(error: pytest.ExceptionInfo[PlatformError]) -> set[str]:
    return {item.field for item in error.value.violations}


def test_a_run_names_all_that_is_wrong():
    request = run_service_pb2.CreateRunRequest(
        model="../x.pt", data="a" * 201, labels={"": "v", "k" * 129: "v", "k" * 128: "\t"}
    )
    with pytest.raises(PlatformError) as error:
        validate.run_request(convert.run_request(request))
    assert fields(error) == {"model", "data", "labels[]", f"labels[{'k' * 100}]"}
    with pytest.raises(PlatformError) as error:
        validate.run_request(convert.run_request(run_service_pb2.CreateRunRequest(model="yolov8n")))
    assert fields(error) == {"data"}


def test_texts_of_callers_are_theirs():
    texts = {"request_id": "a\nb", "external_id": "crm 7\t", "labels": {"team a/b": "line\nline"}}
    request = run_service_pb2.CreateRunRequest(model="yolo26n", data="cells", **texts)
    made = convert.run_request(request)
    validate.run_request(made)
    assert (made.external_id, dict(made.labels)) == (texts["external_id"], texts["labels"])


def test_a_run_in_the_default_queue():
    assert convert.run_request(run_service_pb2.CreateRunRequest(model="yolo26x", data="cells")).queue == "default"


@pytest.mark.parametrize(("text", "meaning"), [("cells/17", ("cells", 17)), (RUN, RUN)])
def test_references(text, meaning):
    assert validate.reference(text) == meaning


@pytest.mark.parametrize(
    "text", ["", "cells", "cells/0", "cells/-1", "cells/x", "/1", "a b/1", "../x/1", "cells/9999999999", RUN.upper()]
)
def test_what_is_no_reference(text):
    with pytest.raises(PlatformError) as error:
        validate.reference(text)
    assert fields(error) == {"reference"}
