"""The script that Envoy runs below /api: it finds every unknown field of a JSON body, every value of a wrong JSON type,
and nothing else.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import assume, given
from hypothesis import strategies as st
from lupa import luajit21
from splitrail_local import api_script, envoy
from splitrail_local.contracts import Binding, Contracts

NO_FIELD = "zz"
UNKNOWN = "has no field named"


@pytest.fixture(scope="session")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Contracts:
    target = tmp_path_factory.mktemp("contracts") / "splitrail.binpb"
    envoy.splitrail_proto_build(target)
    return Contracts(target.read_bytes())


@pytest.fixture(scope="session")
def lua(contracts: Contracts) -> Any:
    """The script's own functions, in the language that Envoy runs it in."""
    runtime = luajit21.LuaRuntime(encoding=None)
    ending = "\nreturn {fault_of = fault_of, route_of = route_of, with_whole_names = with_whole_names}"
    return runtime.execute((api_script.script(contracts, envoy.GATEWAY) + ending).encode())


def fault(lua: Any, body: str, kind: str) -> tuple[str, str] | None:
    """(field, description) of what is refused."""
    found = lua[b"fault_of"](body.encode(), kind.encode())
    return None if found is None else (found[b"field"].decode(), found[b"description"].decode())


def messages_of_bodies(contracts: Contracts) -> list[Descriptor]:
    found = {
        rpc.request.full_name: rpc.request for rpc in contracts.rpcs for binding in rpc.bindings if binding.body == "*"
    }
    return list(found.values())


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(-1e6, 1e6) | st.sampled_from(["NaN", "Infinity", 1]),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(-1e6, 1e6, width=32),
    FieldDescriptor.CPPTYPE_STRING: st.text(max_size=8),
}
WELL_KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "google.protobuf.Timestamp": st.just("2026-01-01T00:00:00Z"),
    "google.protobuf.Duration": st.just("1.5s"),
    "google.protobuf.FieldMask": st.just("name"),
    "google.protobuf.Struct": st.dictionaries(st.text(max_size=5), ANY_JSON, max_size=2),
    "google.protobuf.Value": ANY_JSON,
    "google.protobuf.ListValue": st.lists(ANY_JSON, max_size=2),
}


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        known = WELL_KNOWN.get(field.message_type.full_name)
        return bodies(field.message_type, depth + 1) if known is None else known
    if field.enum_type is not None:
        return st.sampled_from([value.name for value in field.enum_type.values])
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.just("AAEC")
    return SCALARS.get(field.cpp_type, st.integers(0, 1000) | st.integers(0, 1000).map(str))


@st.composite
def bodies(draw: st.DrawFn, message: Descriptor, depth: int = 0) -> dict[str, Any]:
    """A body of this message: any of its fields, by either name."""
    body: dict[str, Any] = {}
    taken: set[str] = set()
    for field in (
        draw(st.lists(st.sampled_from(list(message.fields)), max_size=4, unique_by=lambda each: each.name))
        if message.fields
        else []
    ):
        if field.containing_oneof is not None:
            if field.containing_oneof.name in taken:
                continue
            taken.add(field.containing_oneof.name)
        if depth > 4 and field.message_type is not None:
            continue
        name = draw(st.sampled_from((field.name, field.json_name)))
        if is_map(field):
            keys = (
                st.text(max_size=5)
                if field.message_type.fields_by_name["key"].cpp_type == FieldDescriptor.CPPTYPE_STRING
                else st.integers(0, 9)
            )
            body[name] = draw(
                st.dictionaries(keys.map(str), values(field.message_type.fields_by_name["value"], depth), max_size=2)
            )
        elif field.is_repeated:
            body[name] = draw(st.lists(values(field, depth), max_size=2))
        else:
            body[name] = draw(values(field, depth))
    return body


def refusal(text: str, made: type[Message]) -> str:
    """What protobuf's own parser says against a body; empty: nothing."""
    try:
        json_format.Parse(text, made())
    except json_format.ParseError as error:
        return str(error)
    return ""


def objects(body: Any, message: Descriptor) -> Iterator[tuple[dict[str, Any], Descriptor, str]]:
    """Every object of a body that is one of our messages, with its path."""
    yield body, message, ""
    for field in message.fields:
        inner = field.message_type
        name = next((name for name in (field.name, field.json_name) if name in body), None)
        if inner is None or name is None or inner.full_name in WELL_KNOWN:
            continue
        if inner.GetOptions().map_entry:
            value = inner.fields_by_name["value"].message_type
            children = (
                [(f"{name}.{key}", item) for key, item in body[name].items()]
                if value and value.full_name not in WELL_KNOWN
                else []
            )
            inner = value
        else:
            children = (
                [(f"{name}[{number}]", item) for number, item in enumerate(body[name])]
                if field.is_repeated
                else [(name, body[name])]
            )
        for path, child in children:
            for found, kind, rest in objects(child, inner):
                yield found, kind, f"{path}.{rest}" if rest else path


def shown(path: str) -> str:
    """A path as a refusal has it, in printable ASCII."""
    return "".join(char if " " <= char <= "~" else "?" * len(char.encode()) for char in path)


@given(st.data())
def test_every_unknown_field_is_found_and_no_known_one_is_refused(contracts: Contracts, lua: Any, data: st.DataObject):
    message = data.draw(st.sampled_from(messages_of_bodies(contracts)))
    body = data.draw(bodies(message))
    indent = data.draw(st.sampled_from([None, 1]))
    made = message_factory.GetMessageClass(message)
    text = json.dumps(body, indent=indent, ensure_ascii=data.draw(st.booleans()))
    assert UNKNOWN not in refusal(text, made)
    assert fault(lua, text, message.full_name) is None

    target, _, path = data.draw(st.sampled_from(list(objects(body, message))))
    target[NO_FIELD] = data.draw(ANY_JSON)
    text = json.dumps(body, indent=indent)
    assert UNKNOWN in refusal(text, made)
    field, description = fault(lua, text, message.full_name) or ("", "")
    expected = f"{path}.{NO_FIELD}" if path else NO_FIELD
    assert field == shown(expected)
    assert description.startswith("is not a field of splitrail.")


JSON_TYPES: dict[str, st.SearchStrategy[Any]] = {
    "a string": st.text(max_size=5),
    "a number": st.integers(-9, 9) | st.floats(-1e6, 1e6),
    "true or false": st.booleans(),
    "an object": st.dictionaries(st.text(max_size=5), ANY_JSON, max_size=1),
    "an array": st.lists(ANY_JSON, max_size=1),
}
FORMS = {"google.protobuf.Struct": "an object", "google.protobuf.ListValue": "an array", "google.protobuf.Value": ""}


def json_type(field: FieldDescriptor) -> str:
    """The JSON type of one value of a field; empty: any."""
    if field.message_type is not None:
        name = field.message_type.full_name
        return FORMS.get(name, "a string" if name in WELL_KNOWN else "an object")
    return {FieldDescriptor.CPPTYPE_STRING: "a string", FieldDescriptor.CPPTYPE_BOOL: "true or false"}.get(
        field.cpp_type, "a number"
    )


def places(body: dict[str, Any], message: Descriptor) -> Iterator[tuple[Any, str | int, str, str]]:
    """Every value of a body: what holds it, its name or number there, its path, and its JSON type."""
    for found, kind, within in objects(body, message):
        for field in kind.fields:
            for name in {field.name, field.json_name} & found.keys():
                path = f"{within}.{name}" if within else name
                if is_map(field):
                    yield found, name, path, "an object"
                    value = field.message_type.fields_by_name["value"]
                    yield from ((found[name], key, f"{path}.{key}", json_type(value)) for key in found[name])
                elif field.is_repeated:
                    yield found, name, path, "an array"
                    yield from (
                        (found[name], number, f"{path}[{number}]", json_type(field))
                        for number in range(len(found[name]))
                    )
                else:
                    yield found, name, path, json_type(field)


@given(st.data())
def test_every_value_of_a_wrong_json_type_is_refused_by_name(contracts: Contracts, lua: Any, data: st.DataObject):
    message = data.draw(st.sampled_from(messages_of_bodies(contracts)))
    body = data.draw(bodies(message))
    typed = [place for place in places(body, message) if place[3]]
    assume(typed)
    holder, key, path, expected = data.draw(st.sampled_from(typed))
    wrong = data.draw(
        st.sampled_from(sorted(JSON_TYPES.keys() - {expected} - ({"a string"} if expected == "a number" else set())))
    )
    holder[key] = data.draw(JSON_TYPES[wrong])
    assert fault(lua, json.dumps(body, ensure_ascii=False), message.full_name) == (
        shown(path),
        f"must be {expected}, not {wrong}",
    )


SPLIT = "splitrail.split.v1.CreateSplitRequest"


@pytest.mark.parametrize(
    ("body", "field", "description"),
    [
        ('{"parameters": {"groupby": {}}}', "parameters.groupby", "did you mean group_by?"),
        ('{"parameters": {"group\\u0042y": []}}', None, ""),
        ('{"parameters": {"group\\u0062y": {}}}', "parameters.groupby", "did you mean group_by?"),
        ('{"a\\"b\\n": 1}', 'a"b?', "is not a field of"),
        ('{"a": 1', "a", "is not a field of"),
        ("{'parameters': {}}", "", "no name at byte 2"),
        ("{parameters: {}}", "", "no name at byte 2"),
        ('{"request_id": "x",}', "", "no name at byte 20"),
        ('{"request_id": "x"} {}', "", "more than one value at byte 21"),
        ('{"request_id": "x', "", "a string without end at byte 16"),
        ('{"request_id" "x"}', "", "no ':' at byte 15"),
        ('{"request_id": tru}', "", "no value at byte 16"),
        ("", "", "no value at byte 1"),
        ("[]", "", "must be an object, not an array"),
        ("null", None, ""),
        ('{"request_id": null, "parameters": {"seed": "42", "ratios": null}}', None, ""),
        ('{"request_id": 7}', "request_id", "must be a string, not a number"),
        ('{"parameters": {"ratios": {"train": []}}}', "parameters.ratios.train", "must be a number, not an array"),
        ('{"parameters": {"pins": [[]]}}', "parameters.pins[0]", "must be an object, not an array"),
        ('{"parameters": {"pins": {}}}', "parameters.pins", "must be an array, not an object"),
    ],
)
def test_bodies_as_people_write_them(lua: Any, body: str, field: str | None, description: str):
    found = fault(lua, body, SPLIT)
    if field is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == field
        assert description in found[1]


def test_nothing_is_nested_without_end(lua: Any):
    found = fault(lua, '{"arguments": {"deep": ' + "[" * 150, "splitrail.trainer.v1.CreateRunRequest")
    assert found == ("arguments.deep" + "[0]" * 18, "is nested deeper than 100")


def example(binding: Binding) -> str:
    """A path of the binding."""
    path = ""
    for segment in binding.segments:
        part = {"*": "x-1", "**": "x/y"}.get(segment, segment)
        path += part if part.startswith(":") else f"/{part}"
    return path


def test_every_path_of_the_contracts_finds_its_route(contracts: Contracts, lua: Any):
    for rpc in contracts.rpcs:
        for binding in rpc.bindings:
            for path in (example(binding), example(binding) + "/"):
                route, _ = lua[b"route_of"](binding.method.encode(), path.encode())
                assert route[b"pattern"] == binding.lua_pattern.encode(), path
                assert (route[b"body"] or b"").decode() == (rpc.request.full_name if binding.body == "*" else "")
    assert lua[b"route_of"](b"GET", b"/api/nothing")[0] is None
    assert lua[b"route_of"](b"HEAD", b"/api/openapi.json")[0] is not None
    route, methods = lua[b"route_of"](b"PATCH", b"/api/runs")
    assert (route, sorted(methods.values())) == (None, [b"GET", b"POST"])


def test_values_of_enums_have_short_names_in_queries(contracts: Contracts, lua: Any):
    listed = next(rpc for rpc in contracts.rpcs if rpc.name == "ListRuns")
    route, _ = lua[b"route_of"](b"GET", example(listed.bindings[0]).encode())

    def rewritten(query: str) -> str:
        return lua[b"with_whole_names"](query.encode(), route[b"enums"]).decode()

    assert (
        rewritten("state=failed&page_size=5&state=Running")
        == "state=JOB_STATE_FAILED&page_size=5&state=JOB_STATE_RUNNING"
    )
    for same in (
        "state=JOB_STATE_FAILED",
        "state=2",
        "state=",
        "state=nonsense",
        "data=failed",
        "",
        "&&",
        "state",
        "=failed",
    ):
        assert rewritten(same) == same


def test_the_script_is_what_envoy_takes_in_one_string(contracts: Contracts):
    text = api_script.script(contracts, Path(envoy.GATEWAY))
    assert text.isascii()
    assert len(text) < 100_000
