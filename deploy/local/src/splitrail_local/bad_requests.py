"""Requests that break what the protos declare, derived from the descriptors, so that a test of a service covers every
field of every RPC of it.

`for bad in beyond_limits(*services) + bad_pages(*services): assert await refusal(channel, bad, metadata) == bad.field`
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from splitrail.api.v1 import limits_pb2
from splitrail_common import paging
from splitrail_common.ids import new_id

_SAMPLES = ("x", "default", "1", "a" * 64, "a/b.jpg", "", "!", " ", "\x01")
Change = Callable[[Any], None]
"""Sets one field of a message."""


@dataclass(frozen=True)
class BadRequest:
    """A request of which one field at least is wrong."""

    method: MethodDescriptor
    request: Message
    field: str
    """As the refusal must name it: `assets[0].sha256`."""
    what: str
    """For the test's id."""

    def __str__(self) -> str:
        return f"{self.method.full_name} {self.field} {self.what}"


def beyond_limits(*services: ServiceDescriptor) -> list[BadRequest]:
    """For each limit, required field, enum and string of each request one that breaks it: the least that does."""
    found = []
    for method in _methods(services):
        for path, field, change, what in _breaks(method.input_type, "", ()):
            request = GetMessageClass(method.input_type)()
            change(request)
            found.append(BadRequest(method, request, path + field, what))
    return found


def bad_pages(*services: ServiceDescriptor) -> list[BadRequest]:
    """For each RPC that lists by pages: a token that is none, and one of another RPC. Its other required fields are
    well-formed."""
    found = []
    foreign = paging.PageRequest(100, None, binding="0" * 16).token([new_id()])
    for method in _methods(services):
        if "page_token" in method.input_type.fields_by_name:
            for what, token in (("is not a token", "bm9uc2Vuc2U"), ("is of another request", foreign)):
                request = well_formed(method.input_type)
                request.page_token = token
                found.append(BadRequest(method, request, "page_token", what))
    return found


async def refusal(channel: grpc.aio.Channel, bad: BadRequest, metadata: Sequence[tuple[str, str]]) -> str:
    """The field, if the service refuses it with INVALID_ARGUMENT; otherwise what came instead, for the assertion to
    show."""
    path = f"/{bad.method.containing_service.full_name}/{bad.method.name}"
    parse = GetMessageClass(bad.method.output_type).FromString
    options: dict[str, Any] = {
        "request_serializer": type(bad.request).SerializeToString,
        "response_deserializer": parse,
    }
    try:
        if bad.method.server_streaming:
            async for _ in channel.unary_stream(path, **options)(bad.request, metadata=metadata, timeout=20):
                break
        else:
            await channel.unary_unary(path, **options)(bad.request, metadata=metadata, timeout=20)
    except grpc.aio.AioRpcError as error:
        named = _named_fields(error)
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT and bad.field in named:
            return bad.field
        return f"{error.code().name} of {sorted(named)}: {error.details()}"
    return "OK"


def _named_fields(error: grpc.aio.AioRpcError) -> set[str]:
    status = rpc_status.from_call(error)
    fields: set[str] = set()
    for detail in status.details if status else ():
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            fields |= {item.field for item in bad.field_violations}
    return fields


def well_formed(descriptor: Descriptor) -> Any:
    """A message whose required fields hold something that keeps their limits; what they name need not exist."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if _is_required(field):
            if field.message_type is not None:
                inner = well_formed(field.message_type)
                getattr(message, field.name).MergeFrom([inner] if field.is_repeated else inner)
            else:
                _set(message, field, _good(field))
    return message


def _methods(services: Sequence[ServiceDescriptor]) -> Iterator[MethodDescriptor]:
    for service in services:
        yield from service.methods


def _is_required(field: FieldDescriptor) -> bool:
    return field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def _set(message: Any, field: FieldDescriptor, value: Any) -> None:
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _good(field: FieldDescriptor) -> Any:
    limits = field.GetOptions().Extensions[limits_pb2.limits]
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    if field.type == FieldDescriptor.TYPE_STRING:
        return (
            new_id()
            if limits.uuid
            else next(text for text in _SAMPLES if text and re.fullmatch(limits.pattern or ".*", text))
        )
    return b"x" if field.type == FieldDescriptor.TYPE_BYTES else max(1, int(limits.minimum))


def _breaks(descriptor: Descriptor, path: str, within: tuple[str, ...]) -> Iterator[tuple[str, str, Change, str]]:
    """(path, field's name within it, what sets it, what is wrong) for a message type and those in it, each type once on
    the way down."""
    for field in descriptor.fields:
        entry = (
            field.message_type if field.message_type is not None and field.message_type.GetOptions().map_entry else None
        )
        if _is_required(field):
            yield path, field.name, _nothing, "is missing"
        if entry is None:
            yield from ((path, name, change, what) for name, change, what in _field_breaks(field))
        if (
            entry is None
            and field.message_type is not None
            and field.message_type.full_name not in (*within, descriptor.full_name)
        ):
            step = f"{path}{field.name}[0]." if field.is_repeated else f"{path}{field.name}."
            for inner_path, name, change, what in _breaks(field.message_type, step, (*within, descriptor.full_name)):
                yield inner_path, name, _inside(field, change), what


def _nothing(_: Any) -> None:
    """Leaves the message as it is."""


def _inside(field: FieldDescriptor, change: Change) -> Change:
    def outer(message: Any) -> None:
        inner = getattr(message, field.name)
        if field.is_repeated:
            inner = inner.add()
        else:
            inner.SetInParent()
        change(inner)

    return outer


def _field_breaks(field: FieldDescriptor) -> Iterator[tuple[str, Change, str]]:
    limits = field.GetOptions().Extensions[limits_pb2.limits]
    name = f"{field.name}[0]" if field.is_repeated else field.name
    for value, what in _bad_values(field, limits):
        yield name, lambda message, value=value: _set(message, field, value), what  # type: ignore[misc]
    if limits.max_items:
        yield field.name, lambda message: _fill(message, field, limits.max_items + 1), "has too many entries"
    if limits.min_items > 1:
        yield field.name, lambda message: _fill(message, field, limits.min_items - 1), "has too few entries"


def _fill(message: Any, field: FieldDescriptor, count: int) -> None:
    if field.message_type is not None:
        for _ in range(count):
            getattr(message, field.name).add()
    else:
        getattr(message, field.name).extend([_good(field)] * count)


def _bad_values(field: FieldDescriptor, limits: limits_pb2.Limits) -> Iterator[tuple[Any, str]]:
    if field.enum_type is not None:
        yield max(field.enum_type.values_by_number) + 1, "is not a value of the enum"
    if limits.HasField("minimum"):
        yield (
            type(field.default_value)(limits.minimum - 1) if not field.is_repeated else int(limits.minimum) - 1,
            "is too small",
        )
    if limits.HasField("maximum"):
        yield (
            type(field.default_value)(limits.maximum + 1) if not field.is_repeated else int(limits.maximum) + 1,
            "is too large",
        )
    unit: Any = b"x" if field.type == FieldDescriptor.TYPE_BYTES else "x"
    if limits.max_length:
        yield unit * (limits.max_length + 1), "is too long"
    if limits.min_length > 1:
        yield unit * (limits.min_length - 1), "is too short"
    if field.type == FieldDescriptor.TYPE_STRING:
        yield "a\0b", "holds a NUL character"
    if limits.uuid:
        yield "not-a-uuid", "is not a UUID"
    if limits.pattern:
        yield (
            next(text for text in reversed(_SAMPLES) if text and not re.fullmatch(limits.pattern, text)),
            "does not match",
        )
