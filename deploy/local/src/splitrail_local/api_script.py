"""The script that Envoy runs for requests below /api: gateway/*.lua with their tables, generated from the contracts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from splitrail_local.contracts import Binding, Contracts, Rpc

Kind = str | bool | dict[str, "Kind"]
"""What may stand in a field: a message by its full name, "string", "number", "boolean", {"map": kind of the values},
{"list": kind of the elements}, False for anything (see gateway/json_fields.lua)."""
Table = Mapping[str, "Table"] | Sequence["Table"] | str | bool

_DOCUMENT = "/api/openapi.json"

_WELL_KNOWN = "google."
"""Messages of these packages have a JSON form of their own (Timestamp, Struct) or hold anything (Any, HttpBody)."""
_FORMS: dict[str, Kind] = {
    "google.protobuf.Timestamp": "string",
    "google.protobuf.Duration": "string",
    "google.protobuf.FieldMask": "string",
    "google.protobuf.Struct": {"map": False},
    "google.protobuf.ListValue": {"list": False},
}
"""The JSON of those that have one form only."""
_SCALARS = {FieldDescriptor.CPPTYPE_STRING: "string", FieldDescriptor.CPPTYPE_BOOL: "boolean"}
"""All other scalars, enums too, are a "number", for which a string may stand."""
_DEEPEST_PARAMETER = 4
"""Messages within messages whose fields are query parameters; a message may hold itself."""


def script(contracts: Contracts, folder: Path) -> str:
    """The whole script; `folder` holds api.lua and json_fields.lua."""
    return "\n".join([tables(contracts), *((folder / name).read_text() for name in ("json_fields.lua", "api.lua"))])


def tables(contracts: Contracts) -> str:
    """TYPES, ROUTES and ENUMS in Lua, as gateway/json_fields.lua and api.lua describe them."""
    bound = sorted(
        ((binding, rpc) for rpc in contracts.rpcs for binding in rpc.bindings), key=lambda pair: pair[0].generality
    )
    types: dict[str, Table] = {}
    enums: dict[str, Table] = {}
    routes = [_route(binding, rpc, types, enums) for binding, rpc in bound]
    routes += [{"method": method, "pattern": Binding(method, _DOCUMENT, "").lua_pattern} for method in ("GET", "HEAD")]
    return "".join(
        f"local {name} = {_lua(table)}\n" for name, table in (("TYPES", types), ("ROUTES", routes), ("ENUMS", enums))
    )


def _route(binding: Binding, rpc: Rpc, types: dict[str, Table], enums: dict[str, Table]) -> dict[str, Table]:
    """The table of one binding; the messages and enums that it needs are added to `types` and `enums`."""
    route: dict[str, Table] = {"method": binding.method, "pattern": binding.lua_pattern}
    if rpc.streaming and rpc.messages:
        route["stream"] = True
    if binding.body:
        whole = binding.body == "*"
        route["body"] = (
            _kind_of_message(rpc.request, types) if whole else _kind(rpc.request.fields_by_name[binding.body], types)
        )
    if binding.body != "*":
        parameters = dict(_enum_parameters(rpc.request))
        enums.update({enum.full_name: _short_names(enum) for enum in parameters.values()})
        if parameters:
            route["enums"] = {name: enum.full_name for name, enum in parameters.items()}
    return route


def _kind(field: FieldDescriptor, types: dict[str, Table]) -> Kind:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return {"map": _kind(message.fields_by_name["value"], types)}
    one = _SCALARS.get(field.cpp_type, "number") if message is None else _kind_of_message(message, types)
    return {"list": one} if field.is_repeated else one


def _kind_of_message(message: Descriptor, types: dict[str, Table]) -> Kind:
    if message.full_name.startswith(_WELL_KNOWN):
        return _FORMS.get(message.full_name, False)
    if message.full_name not in types:
        fields: dict[str, Table] = {}
        types[message.full_name] = fields  # before its fields: a message may hold itself
        fields.update({name: _kind(field, types) for field in message.fields for name in _names(field)})
    return message.full_name


def _names(field: FieldDescriptor) -> tuple[str, ...]:
    """Both are taken in JSON and in queries."""
    return tuple(dict.fromkeys((field.json_name, field.name)))


def _enum_parameters(message: Descriptor, depth: int = 1) -> Iterator[tuple[str, EnumDescriptor]]:
    """Query parameters whose values are of an enum."""
    for field in message.fields:
        if field.enum_type is not None:
            yield from ((name, field.enum_type) for name in _names(field))
        elif field.message_type is not None and not field.is_repeated and depth < _DEEPEST_PARAMETER:
            for inner, enum in _enum_parameters(field.message_type, depth + 1):
                yield from ((f"{name}.{inner}", enum) for name in _names(field))


def _short_names(enum: EnumDescriptor) -> dict[str, Table]:
    """`TEST` -> `PART_TEST`: what remains of the values' names without the prefix that all of them have."""
    prefix = _prefix(enum)
    return {value.name.removeprefix(prefix): value.name for value in enum.values if value.name.startswith(prefix)}


def _prefix(enum: EnumDescriptor) -> str:
    """`JOB_STATE_` of JobState: its zero value's name is this with UNSPECIFIED, as buf's lint demands."""
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _lua(value: Table) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{_lua(key)}] = {_lua(each)}" for key, each in value.items()) + "}"
    if isinstance(value, str):
        return json.dumps(value)  # names of contracts and patterns are ASCII
    if isinstance(value, bool):
        return "true" if value else "false"
    return "{" + ", ".join(map(_lua, value)) + "}"
