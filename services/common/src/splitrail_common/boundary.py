"""The edge of a service: one interceptor that authenticates, authorizes, decodes and checks requests, logs, and turns
exceptions into statuses."""

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
import psycopg
import structlog
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from psycopg_pool import PoolTimeout
from splitrail.auth.v1 import access_pb2

from . import log
from .access import Call, authorize, serving
from .errors import PlatformError, Reason, Violation, internal, invalid, unavailable
from .ids import new_id
from .limits import RequestRules
from .tokens import Verifier

_log = log.get(__name__)
_OPEN = (
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
)
Handler = Any
Context = grpc.aio.ServicerContext[Any, Any]


def to_platform_error(error: Exception) -> PlatformError:
    """What the caller may know of an exception: our own errors as they are, stores that do not answer as
    UNAVAILABLE, the rest without detail."""
    if isinstance(error, PlatformError):
        return error
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout):
        return unavailable("the database")
    if isinstance(error, grpc.aio.AioRpcError):
        return _forwarded(error)
    if isinstance(error, psycopg.DataError):
        return invalid(
            Violation("request", "holds a value that cannot be stored (a NUL character, or a number out of range)")
        )
    return internal()


def _forwarded(error: grpc.aio.AioRpcError) -> PlatformError:
    """Another service's answer: what concerns the caller's request is passed on, the rest means that we could not do
    our part."""
    passed = {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
    }
    status = rpc_status.from_call(error)
    if error.code() not in passed or status is None:
        return unavailable("a service that this one needs")
    reason, metadata, violations = Reason.ERROR_REASON_UNSPECIFIED, {}, []
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            name = f"ERROR_REASON_{info.reason}"
            reason = dict(Reason.items()).get(name, reason)
            metadata = dict(info.metadata)
        elif detail.Unpack(bad):
            violations = [Violation(item.field, item.description) for item in bad.field_violations]
    return PlatformError(error.code(), reason, status.message, metadata=metadata, violations=violations)


class Boundary(grpc.aio.ServerInterceptor):
    """Wraps every handler of a server."""

    def __init__(
        self, verifier: Verifier, rules: Mapping[str, access_pb2.Access], requests: Mapping[str, RequestRules]
    ) -> None:
        """`rules` and `requests` say, by an RPC's path, who may call it and what its request may hold."""
        self._verifier = verifier
        self._rules = dict(rules)
        self._requests = dict(requests)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Replaces the handler by one that goes through the boundary; health and reflection stay open."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or method.startswith(_OPEN):
            return handler
        metadata = {key: value for key, value in handler_call_details.invocation_metadata or ()}
        decode = partial(_decoded, handler.request_deserializer, self._requests[method])
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, metadata, decode, handler.unary_stream), None, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, metadata, decode, handler.unary_unary), None, handler.response_serializer
        )

    def _enter(self, method: str, metadata: Mapping[str, str | bytes]) -> Call:
        header = metadata.get("authorization", "")
        scheme, _, token = header.partition(" ") if isinstance(header, str) else ("", "", "")
        if scheme.lower() != "bearer" or not token:
            raise PlatformError(
                grpc.StatusCode.UNAUTHENTICATED,
                Reason.ERROR_REASON_TOKEN_INVALID,
                "send `authorization: Bearer <token>`",
            )
        caller = self._verifier.verify(token)
        scope = authorize(self._rules[method], caller)
        return Call(caller, scope, token, str(metadata.get("x-request-id") or new_id()))

    def _unary(
        self, method: str, metadata: Mapping[str, str | bytes], decode: Callable[[bytes], Any], behavior: Handler
    ) -> Handler:
        async def handle(raw: bytes, context: Context) -> Any:
            started = time.perf_counter()
            try:
                call = self._enter(method, metadata)
                with serving(call), structlog.contextvars.bound_contextvars(request_id=call.request_id, method=method):
                    try:
                        response = await behavior(decode(raw), context)
                        _log.debug("served", ms=round((time.perf_counter() - started) * 1000, 2))
                        return response
                    except Exception as error:
                        _report(error)
                        raise
            except Exception as error:
                await context.abort_with_status(rpc_status.to_status(to_platform_error(error).status()))

        return handle

    def _stream(
        self, method: str, metadata: Mapping[str, str | bytes], decode: Callable[[bytes], Any], behavior: Handler
    ) -> Handler:
        async def handle(raw: bytes, context: Context) -> None:
            try:
                call = self._enter(method, metadata)
                with serving(call), structlog.contextvars.bound_contextvars(request_id=call.request_id, method=method):
                    try:
                        await _respond(behavior(decode(raw), context), context)
                    except Exception as error:
                        _report(error)
                        raise
            except Exception as error:
                await context.abort_with_status(rpc_status.to_status(to_platform_error(error).status()))

        return handle


def _decoded(parse: Callable[[bytes], Any], rules: RequestRules, raw: bytes) -> Any:
    """The request; its own request_id, if it has one, goes into the log beside the call's. Raises INVALID_ARGUMENT for
    each wrong field."""
    try:
        request = parse(raw)
    except DecodeError as error:
        raise invalid(Violation("request", "is not a valid message of this RPC")) from error
    if violations := rules.violations(request, raw):
        raise invalid(*violations)
    if given := getattr(request, "request_id", ""):
        structlog.contextvars.bind_contextvars(client_request_id=given)
    return request


async def _respond(outcome: Any, context: Context) -> None:
    """Runs a streaming handler: one that yields its responses, or one that writes them itself because its writes have
    deadlines.

    Written here rather than yielded, so that a call that ends early also ends the handler at once, in its own task.
    """
    if inspect.isawaitable(outcome):
        await outcome
        return
    async with aclosing(outcome) as responses:
        async for response in responses:
            await context.write(response)


def _report(error: Exception) -> None:
    """Logs what the caller does not get to see."""
    if isinstance(error, grpc.aio.AbortError):
        return
    if isinstance(error, PlatformError):
        _log.info("refused", code=error.code.name, error=error.message)
    elif to_platform_error(error).code is grpc.StatusCode.INTERNAL:
        _log.exception("defect")
    else:
        _log.warning("dependency failed", error=str(error))
