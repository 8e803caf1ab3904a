"""What a caller sees of errors: a status with reason and fields, never an exception's text, also on streams and for garbage."""

import asyncio
import json

import grpc
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from splitrail.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from splitrail_common.access import current_call
from splitrail_common.errors import Violation, invalid, not_found
from splitrail_common.peers import bearer
from splitrail_common.server import Servicer, make_server
from splitrail_common.tokens import Kind, Signer, Verifier

SERVICE = metrics_service_pb2.DESCRIPTOR.services_by_name["MetricsService"]
SECRET = "the password is hunter2"


class Faulty(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Raises what the request's run_id asks for."""

    async def GetRunMetrics(self, request, context):
        if request.run_id == "field":
            raise invalid(Violation("run_id", "is odd"))
        if request.run_id == "fields":
            raise invalid(*(Violation(f"files[{number}].path", "\N{LATIN SMALL LETTER E WITH ACUTE}" * 300) for number in range(1000)))
        if request.run_id.startswith("long"):
            raise not_found("run", request.run_id)
        if request.run_id == "database":
            raise psycopg.OperationalError(SECRET)
        if request.run_id == "defect":
            raise RuntimeError(SECRET)
        assert current_call().caller.subject == "ann"
        return metrics_service_pb2.GetRunMetricsResponse()

    async def WatchRun(self, request, context):
        yield metrics_service_pb2.WatchRunResponse(cursor=1)
        await asyncio.sleep(0)
        raise RuntimeError(SECRET)


@pytest.fixture
async def stub():
    key = ec.generate_private_key(ec.SECP256R1())
    public = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": "splitrail", "alg": "ES256"}
    verifier = Verifier({"splitrail": jwt.PyJWK(public)})
    server = make_server(
        [Servicer(SERVICE, lambda server: metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Faulty(), server))], verifier
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    token = Signer("splitrail", key).sign(Kind.USER, "ann", 60, roles={"*": "viewer"})
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield metrics_service_pb2_grpc.MetricsServiceStub(channel), bearer(token), channel
    await server.stop(0)


async def failure(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert SECRET not in str(caught.value)
    return caught.value


def reason(error: grpc.aio.AioRpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    assert status is not None
    assert any(detail.Unpack(info) for detail in status.details)
    return info.reason


@pytest.mark.parametrize(
    ("run_id", "code", "expected"),
    [
        ("field", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ("fields", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ("long" * 100_000, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        ("database", grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        ("defect", grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
async def test_exceptions_become_statuses(stub, run_id, code, expected):
    api, metadata, _ = stub
    error = await failure(api.GetRunMetrics(metrics_service_pb2.GetRunMetricsRequest(run_id=run_id), metadata=metadata))
    assert (error.code(), reason(error)) == (code, expected)


async def test_of_many_violations_the_first_are_named_and_the_rest_counted(stub):
    api, metadata, _ = stub
    error = await failure(api.GetRunMetrics(metrics_service_pb2.GetRunMetricsRequest(run_id="fields"), metadata=metadata))
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in rpc_status.from_call(error).details)
    named = [item.field for item in bad.field_violations]
    assert named == [f"files[{number}].path" for number in range(len(named))]
    assert bad.field_violations[-1].description == f"is wrong too, as are {1000 - len(named)} more"


async def test_a_good_call_passes(stub):
    api, metadata, _ = stub
    assert await api.GetRunMetrics(metrics_service_pb2.GetRunMetricsRequest(), metadata=metadata) is not None


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer x"),), (("authorization", "Basic eDp5"),)])
async def test_anonymous_callers_are_refused(stub, metadata):
    api, _, _ = stub
    error = await failure(api.GetRunMetrics(metrics_service_pb2.GetRunMetricsRequest(), metadata=metadata))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_garbage_is_an_invalid_argument(stub):
    _, metadata, channel = stub
    call = channel.unary_unary("/splitrail.metrics.v1.MetricsService/GetRunMetrics")
    error = await failure(call(b"\xff\xff\xff", metadata=metadata))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_streams_end_with_the_same_statuses(stub):
    api, metadata, _ = stub
    stream = api.WatchRun(metrics_service_pb2.WatchRunRequest(), metadata=metadata)
    assert (await stream.read()).cursor == 1
    error = await failure(stream.read())
    assert (error.code(), reason(error)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
