"""What the gateway itself refuses: in the form of the services, by gRPC, gRPC-Web and JSON, with the reason that
programs branch on.
"""

import base64
import importlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from splitrail.errors.v1 import error_reason_pb2
from splitrail_local.replies import REPLIES
from splitrail_local.testing import RunningStack

GENERATED = Path(__file__).resolve().parent.parent / "proto" / "gen" / "python"
METRICS = "/splitrail.metrics.v1.MetricsService"


@pytest.fixture
def channel(stack: RunningStack) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(stack.gateway_url.removeprefix("http://")) as channel:
        yield channel


def refused(channel: grpc.Channel, path: str, *metadata: tuple[str, str]) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a call that the gateway does not let through."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"", metadata=metadata, timeout=10)
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert status is not None, caught.value
    assert status.details[0].Unpack(info)
    return caught.value.code(), info.reason


def test_reasons_are_those_of_the_contracts():
    names = error_reason_pb2.ErrorReason.keys()
    assert [reply for reply in REPLIES if f"ERROR_REASON_{reply.reason}" not in names] == []


def internal_methods() -> list[str]:
    modules = sorted(
        path.relative_to(GENERATED) for path in (GENERATED / "splitrail" / "internal").rglob("*_service_pb2.py")
    )
    descriptors = [importlib.import_module(".".join(path.with_suffix("").parts)).DESCRIPTOR for path in modules]
    methods = [
        method
        for descriptor in descriptors
        for service in descriptor.services_by_name.values()
        for method in service.methods
    ]
    return [f"/{method.containing_service.full_name}/{method.name}" for method in methods]


@pytest.mark.integration
def test_nothing_internal_has_a_way_in(stack: RunningStack, channel: grpc.Channel):
    paths = internal_methods()
    assert {path.split("/")[2] for path in paths} >= {"ClaimJob", "PinSplit", "StreamManifest", "GetWatermark"}
    for token in (stack.admin_token, stack.worker_token):
        for path in [*paths, "/no.such.Service/Call"]:
            assert refused(channel, path, ("authorization", f"Bearer {token}")) == (
                grpc.StatusCode.UNIMPLEMENTED,
                "NOT_FOUND",
            )


@pytest.mark.integration
def test_a_refused_token_by_grpc_and_grpc_web(stack: RunningStack, channel: grpc.Channel):
    path = f"{METRICS}/GetRunMetrics"
    assert refused(channel, path, ("authorization", "Bearer x.y.z")) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "TOKEN_INVALID",
    )
    headers = {"content-type": "application/grpc-web+proto", "authorization": "Bearer x.y.z"}
    answer = httpx.post(stack.gateway_url + path, headers=headers, content=struct.pack(">BI", 0, 0))
    details = answer.headers["grpc-status-details-bin"]
    assert answer.headers["grpc-status"] == "16"
    assert b"TOKEN_INVALID" in base64.b64decode(details + "=" * (-len(details) % 4))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        ("GetMetricSchema", bytes(4 * 1024**2 + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("NoSuchMethod", b"", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_what_grpc_itself_refuses_has_no_info(
    stack: RunningStack, channel: grpc.Channel, method: str, body: bytes, code: grpc.StatusCode
):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"{METRICS}/{method}")(
            body, metadata=(("authorization", f"Bearer {stack.admin_token}"),), timeout=30
        )
    assert (caught.value.code(), rpc_status.from_call(caught.value)) == (code, None)


@pytest.mark.integration
def test_metadata_with_underscores_is_dropped(stack: RunningStack, channel: grpc.Channel):
    """Some clients send it unasked; it must not cost them their call."""
    call = channel.unary_unary(f"{METRICS}/GetMetricSchema")
    assert call(b"", metadata=(("authorization", f"Bearer {stack.admin_token}"), ("my_header", "1")), timeout=10)


def parsed(answer: httpx.Response) -> tuple[int, str, list[str]]:
    """Code, reason and fields of a refusal by JSON."""
    assert answer.headers["content-type"].startswith("application/json"), answer.text
    error: dict[str, Any] = answer.json()
    assert error["message"]
    info = error["details"][0]
    assert (info["@type"], info["domain"]) == ("type.googleapis.com/google.rpc.ErrorInfo", "splitrail")
    return (
        error["code"],
        info["reason"],
        [each["field"] for item in error["details"] for each in item.get("fieldViolations", [])],
    )


CREATE_SPLIT = "/api/datasets/00000000-0000-7000-8000-000000000000/versions/00000000-0000-7000-8000-000000000001/split"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("call", "body", "status", "refusal"),
    [
        ("POST /api/runs", "{not json", 400, (3, "INVALID_FIELD", [])),
        ("POST /api/runs", '{"data": "x",}', 400, (3, "INVALID_FIELD", [])),
        ("POST /api/runs", "7", 400, (3, "INVALID_FIELD", [])),
        ("POST /api/runs", "[]", 400, (3, "INVALID_FIELD", [])),
        ("POST /api/runs", '{"data": 7}', 400, (3, "INVALID_FIELD", ["data"])),
        ("POST /api/runs", '{"arguments": []}', 400, (3, "INVALID_FIELD", ["arguments"])),
        (f"POST {CREATE_SPLIT}", '{"parameters": {"pins": {}}}', 400, (3, "INVALID_FIELD", ["parameters.pins"])),
        (
            f"POST {CREATE_SPLIT}",
            '{"parameters": {"seed": "x"}}',
            400,
            (3, "INVALID_FIELD", []),
        ),  # a string may stand for a number
        ("POST /api/runs", '{"epochs": 3}', 400, (3, "INVALID_FIELD", ["epochs"])),
        (f"POST {CREATE_SPLIT}/", '{"parameters": {"groupby": []}}', 400, (3, "INVALID_FIELD", ["parameters.groupby"])),
        (
            f"POST {CREATE_SPLIT}/preview",
            '{"parameters": {"pins": [{}, {"x": 1}]}}',
            400,
            (3, "INVALID_FIELD", ["parameters.pins[1].x"]),
        ),
        ("PATCH /api/datasets/x", '{"label": {}}', 400, (3, "INVALID_FIELD", ["label"])),
        ("POST /api/datasets", json.dumps({"labels": {"x": "y" * 4_300_000}}), 413, (3, "INVALID_FIELD", [])),
        ("PUT /api/runs", None, 405, (12, "METHOD_NOT_ALLOWED", [])),
        ("DELETE /api/metric-schema", None, 405, (12, "METHOD_NOT_ALLOWED", [])),
        ("POST /api/openapi.json", "{}", 405, (12, "METHOD_NOT_ALLOWED", [])),
        ("GET /api", None, 404, (5, "NOT_FOUND", [])),
        ("POST /api?x=1", "{}", 404, (5, "NOT_FOUND", [])),
        ("POST /api/", "{}", 404, (5, "NOT_FOUND", [])),
        ("GET /api/runs/..%2f..%2fetc", None, 400, (3, "INVALID_FIELD", [])),
        ("GET /api/nothing", None, 404, (5, "NOT_FOUND", [])),
        ("GET /api/runs?no_such_parameter=1", None, 400, (3, "INVALID_FIELD", [])),
        (f"POST {METRICS}/GetRunMetrics", "{}", 415, (3, "INVALID_FIELD", [])),
    ],
)
def test_refusals_by_json(
    api: httpx.Client, call: str, body: str | None, status: int, refusal: tuple[int, str, list[str]]
):
    method, path = call.split()
    answer = api.request(method, path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, parsed(answer)) == (status, refusal), answer.text
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.integration
@pytest.mark.parametrize("media_type", [None, "text/plain"])
def test_a_refusal_is_json_whatever_the_request_says_it_holds(api: httpx.Client, media_type: str | None):
    headers = {} if media_type is None else {"content-type": media_type}
    for path, status, code in ((f"{METRICS}/GetRunMetrics", 415, 3), ("/api/nothing", 404, 5), ("/api/runs", 400, 3)):
        answer = api.post(path, content=b"{}", headers=headers)
        assert (answer.status_code, parsed(answer)[0]) == (status, code), answer.text


@pytest.mark.integration
@pytest.mark.parametrize("call", ["POST /", "PUT /", "POST /nope", "DELETE /assets/app.js", "OPTIONS /nope"])
def test_the_page_is_only_read(stack: RunningStack, call: str):
    method, path = call.split()
    answer = httpx.request(method, stack.gateway_url + path)
    assert (answer.status_code, answer.headers.get("allow")) == (405, "GET, HEAD")
    assert answer.headers["content-type"] == "text/plain"


@pytest.mark.integration
@pytest.mark.parametrize("path", ["/", "/assets/app.js", "/api/openapi.json"])
def test_what_can_be_read_has_a_head(stack: RunningStack, path: str):
    whole, head = httpx.get(stack.gateway_url + path), httpx.head(stack.gateway_url + path)
    assert (head.status_code, head.content, head.headers["content-type"]) == (200, b"", whole.headers["content-type"])


@pytest.mark.integration
def test_what_protobuf_takes_is_taken(api: httpx.Client):
    """Both names of a field, names with escapes, maps and free values; the service then refuses for a reason of its
    own.
    """
    body = r'{"request\u0049d": "x", "external_id": "y", "labels": {"any": "z"}, "arguments": {"epochs": 1, "deep": {"a": [{"b": null}]}}}'
    answer = api.post("/api/runs", content=body, headers={"content-type": "application/json"})
    code, reason, fields = parsed(answer)
    assert (code, reason) == (3, "INVALID_FIELD")
    assert set(fields) & {"data", "model"}, answer.text


@pytest.mark.integration
def test_a_refused_token_by_json(api: httpx.Client):
    answer = api.get("/api/runs", headers={"authorization": "Bearer x.y.z"})
    assert (answer.status_code, parsed(answer)) == (401, (16, "TOKEN_INVALID", []))


@pytest.mark.integration
def test_the_document_is_served_without_a_token(stack: RunningStack):
    answer = httpx.get(f"{stack.gateway_url}/api/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads((GENERATED.parent.parent / "openapi.json").read_text())


@pytest.mark.integration
def test_a_service_that_is_away_is_told_with_a_time_to_wait(
    stack: RunningStack, channel: grpc.Channel, api: httpx.Client
):
    killed = stack.kill("metrics")
    try:
        answer = api.get("/api/metric-schema")
        if answer.status_code == 200:
            pytest.fail("the service was back before it could be asked")
        assert (answer.status_code, parsed(answer)) == (503, (14, "DEPENDENCY_UNAVAILABLE", []))
        assert answer.json()["details"][1] == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}
        refusal = refused(channel, f"{METRICS}/GetMetricSchema", ("authorization", f"Bearer {stack.admin_token}"))
        assert refusal == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    finally:
        stack.restored("metrics", killed)
