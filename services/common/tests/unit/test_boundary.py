"""What a caller sees of errors: a status with reason and fields, never an exception's text, also on streams and for
garbage."""

import asyncio
import json

import grpc
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from psycopg_pool import PoolTimeout
from splitrail.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from splitrail_common.access import current_call
from splitrail_common.errors import (
    Reason,
    Violation,
    already_exists,
    cursor_out_of_range,
    etag_mismatch,
    internal,
    invalid,
    not_found,
    precondition,
    project_archived,
)
from splitrail_common.ids import new_id
from splitrail_common.peers import bearer
from splitrail_common.server import Servicer, make_server
from splitrail_common.tokens import CallerKind, Signer, Verifier

SERVICE = metrics_service_pb2.DESCRIPTOR.services_by_name["MetricsService"]
SECRET = "the password is hunter2"


RUN = metrics_service_pb2.GetRunMetricsRequest(run_id=new_id())


def from_peer(status: status_pb2.Status) -> grpc.aio.AioRpcError:
    """As a call to another service raises it."""
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details=status.message)


CONFLICT = precondition(Reason.ERROR_REASON_SPLIT_EMPTY, "no image is in test", metadata={"part": "test"}, field="part")
MISSING = from_peer(not_found("split", "x").status())
REFUSED = from_peer(internal().status())
RAISED = {
    "field": (invalid(Violation("run_id", "is odd")), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    "fields": (
        invalid(
            *(Violation(f"files[{number}].path", "\N{LATIN SMALL LETTER E WITH ACUTE}" * 300) for number in range(1000))
        ),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
    ),
    "long": (not_found("run", "long" * 100_000), grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    "precondition": (CONFLICT, grpc.StatusCode.FAILED_PRECONDITION, "SPLIT_EMPTY"),
    "etag": (etag_mismatch("e1"), grpc.StatusCode.ABORTED, "ETAG_MISMATCH"),
    "archived": (project_archived("p"), grpc.StatusCode.FAILED_PRECONDITION, "PROJECT_ARCHIVED"),
    "cursor": (cursor_out_of_range("i", 7), grpc.StatusCode.OUT_OF_RANGE, "CURSOR_OUT_OF_RANGE"),
    "taken": (already_exists("run", "x", "external_id"), grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
    "database": (psycopg.OperationalError(SECRET), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
    "connection": (psycopg.InterfaceError(SECRET), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
    "pool": (PoolTimeout(SECRET), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
    "value": (psycopg.DataError(SECRET), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    "constraint": (psycopg.IntegrityError(SECRET), grpc.StatusCode.INTERNAL, "INTERNAL"),
    "query": (psycopg.ProgrammingError(SECRET), grpc.StatusCode.INTERNAL, "INTERNAL"),
    "defect": (RuntimeError(SECRET), grpc.StatusCode.INTERNAL, "INTERNAL"),
    "file": (OSError(SECRET), grpc.StatusCode.INTERNAL, "INTERNAL"),
    "peer refuses": (from_peer(CONFLICT.status()), grpc.StatusCode.FAILED_PRECONDITION, "SPLIT_EMPTY"),
    "peer knows no such thing": (MISSING, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    "peer fails": (REFUSED, grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
    "peer is away": (
        grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details=SECRET),
        grpc.StatusCode.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
    ),
}


class Faulty(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Raises what the call's header asks for."""

    async def GetRunMetrics(self, request, context):
        if wanted := dict(context.invocation_metadata()).get("x-raise"):
            raise RAISED[wanted][0]
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
        [
            Servicer(
                SERVICE, lambda server: metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Faulty(), server)
            )
        ],
        verifier,
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    token = Signer("splitrail", key).sign(CallerKind.USER, "ann", 60, roles={"*": "viewer"})
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


@pytest.mark.parametrize("raised", RAISED)
async def test_exceptions_become_statuses(stub, raised):
    api, metadata, _ = stub
    error = await failure(api.GetRunMetrics(RUN, metadata=(*metadata, ("x-raise", raised))))
    assert (error.code(), reason(error)) == RAISED[raised][1:]


async def test_a_peers_refusal_is_passed_on_whole(stub):
    api, metadata, _ = stub
    error = await failure(api.GetRunMetrics(RUN, metadata=(*metadata, ("x-raise", "peer refuses"))))
    assert rpc_status.from_call(error) == CONFLICT.status()


async def test_of_many_violations_the_first_are_named_and_the_rest_counted(stub):
    api, metadata, _ = stub
    error = await failure(api.GetRunMetrics(RUN, metadata=(*metadata, ("x-raise", "fields"))))
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in rpc_status.from_call(error).details)
    named = [item.field for item in bad.field_violations]
    assert named == [f"files[{number}].path" for number in range(len(named))]
    assert bad.field_violations[-1].description == f"is wrong too, as are {1000 - len(named)} more"


async def test_a_good_call_passes(stub):
    api, metadata, _ = stub
    assert await api.GetRunMetrics(RUN, metadata=metadata) is not None


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer x"),), (("authorization", "Basic eDp5"),)])
async def test_anonymous_callers_are_refused(stub, metadata):
    api, _, _ = stub
    error = await failure(api.GetRunMetrics(RUN, metadata=metadata))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_garbage_is_an_invalid_argument(stub):
    _, metadata, channel = stub
    call = channel.unary_unary("/splitrail.metrics.v1.MetricsService/GetRunMetrics")
    error = await failure(call(b"\xff\xff\xff", metadata=metadata))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_requests_beyond_their_limits_never_reach_a_handler(stub):
    api, metadata, _ = stub
    for call in (
        api.GetRunMetrics(metrics_service_pb2.GetRunMetricsRequest(run_id="cells/17"), metadata=metadata),
        api.WatchRun(metrics_service_pb2.WatchRunRequest(run_id=RUN.run_id, after_seq=-1), metadata=metadata).read(),
    ):
        error = await failure(call)
        assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_streams_end_with_the_same_statuses(stub):
    api, metadata, _ = stub
    stream = api.WatchRun(metrics_service_pb2.WatchRunRequest(run_id=RUN.run_id), metadata=metadata)
    assert (await stream.read()).cursor == 1
    error = await failure(stream.read())
    assert (error.code(), reason(error)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
