"""Writes openapi.json: the paths below /api in OpenAPI 3, from the contracts (`make proto-clients`).

Google's protoc-gen-openapi (a Go program, built into build/go once) makes the document, and this script adds what the
generator does not know: limits of fields, tokens, streams, what ProtoJSON does with numbers. Run with the project's
virtual environment; needs Go.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from splitrail.api.v1 import limits_pb2
from splitrail_local import envoy
from splitrail_local.contracts import Contracts, Rpc

HERE = Path(__file__).resolve().parent
TARGET = HERE / "openapi.json"
GENERATOR = "github.com/google/gnostic/cmd/protoc-gen-openapi@v0.7.1"
GO_BIN = HERE.parent / "build" / "go" / "bin"

Node = dict[str, Any]
"""A part of the document."""

DESCRIPTION = """\
Splitrail's JSON API: the same RPCs as by gRPC, transcoded by the gateway.

Every call needs a token: `Authorization: Bearer <token>`, or the query parameter `access_token` where a browser can send no header.
Errors are google.rpc.Status; programs branch on `reason` of the detail google.rpc.ErrorInfo, and google.rpc.BadRequest names the fields.
Unknown fields and query parameters are refused. 64-bit integers are strings. Numbers that JSON does not know are "NaN", "Infinity" and
"-Infinity". In queries, enums may be given without their prefix and in lower case: `?split=test`.
"""
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NOT_A_NUMBER = ["NaN", "Infinity", "-Infinity"]
LINT_COMMENT = re.compile(r"\s*buf:lint:ignore \w+")
DEFAULT_PAGE = re.compile(r"default (\d+)")
INT64 = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64}
FLOATS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


def generated() -> Node:
    """The generator's document. Raises RuntimeError where Go, the generator or buf fails."""
    if not (GO_BIN / "protoc-gen-openapi").exists():
        go = shutil.which("go")
        if go is None:
            raise RuntimeError("protoc-gen-openapi is a Go program: install Go 1.22 or newer")
        _run(go, "install", GENERATOR, environment={"GOBIN": str(GO_BIN), "GOFLAGS": "-mod=mod"})
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(GO_BIN), str(Path(sys.executable).parent), os.environ["PATH"]])
        template = ("--template", "buf.gen.openapi.yaml", "--path", "api/splitrail")
        _run(str(Path(sys.executable).parent / "buf"), "generate", *template, "-o", folder, environment={"PATH": path})
        document: Node = yaml.safe_load((Path(folder) / "openapi.yaml").read_text())
        return document


def _run(*command: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=HERE, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")


def finish(document: Node, contracts: Contracts) -> Node:
    """The whole document."""
    document["info"] = {
        "title": "Splitrail",
        "version": "1",
        "description": DESCRIPTION,
        "license": {"name": "AGPL-3.0-or-later"},
    }
    document["servers"] = [{"url": "/"}]
    document["security"] = [{"bearer": []}]
    components = document["components"]
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    _plain(document)
    for name, schema in components["schemas"].items():
        if name.startswith("splitrail."):
            _finish_message(schema, contracts.pool.FindMessageTypeByName(name))
    rpcs = {f"{rpc.service.rsplit('.', 1)[1]}_{rpc.name}": rpc for rpc in contracts.rpcs}
    taken: set[str] = set()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _finish_operation(operation, rpcs[operation["operationId"]])
            while operation["operationId"] in taken:  # further bindings of one RPC
                operation["operationId"] += "_2"
            taken.add(operation["operationId"])
            _without_path_variables(path, operation, components["schemas"])
    return document


def _plain(node: Any) -> None:
    """Comments without what is meant for linters, and formats that OpenAPI knows."""
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict | list):
            _plain(child)
    if isinstance(node, dict):
        if isinstance(node.get("description"), str):
            node["description"] = LINT_COMMENT.sub("", node["description"]).replace("\n ", "\n")
        if node.get("format") == "enum":
            del node["format"]
        if node.get("format") == "bytes":
            node["format"] = "byte"  # base64


def _finish_message(schema: Node, message: Descriptor) -> None:
    for name, each in schema.get("properties", {}).items():
        _finish_field(each, next(field for field in message.fields if field.json_name == name))


def _finish_operation(operation: Node, rpc: Rpc) -> None:
    for parameter in operation.get("parameters", []):
        field = _field(rpc.request, parameter["name"])
        if _is_required(field):
            parameter["required"] = True
        parameter["schema"]["description"] = parameter.get("description", "")
        _finish_field(parameter["schema"], field)
        del parameter["schema"]["description"]
    if rpc.streaming and rpc.messages:
        content = operation["responses"]["200"]["content"]
        content["application/x-ndjson"] = content.pop("application/json")
        content["text/event-stream"] = {
            "schema": {"type": "string", "description": "With `Accept: text/event-stream`: each message as `data`."}
        }


def _field(message: Descriptor, path: str) -> FieldDescriptor:
    name, _, rest = path.partition(".")
    field = next(field for field in message.fields if name in (field.json_name, field.name))
    return _field(field.message_type, rest) if rest and field.message_type is not None else field


def _is_required(field: FieldDescriptor) -> bool:
    return field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def _finish_field(schema: Node, field: FieldDescriptor) -> None:
    limits = field.GetOptions().Extensions[limits_pb2.limits]
    item, value, sizes = schema, field, "Items"
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        item, value, sizes = schema["additionalProperties"], field.message_type.fields_by_name["value"], "Properties"
    elif field.is_repeated:
        item = schema["items"]
    for key, number in _sizes(limits, sizes):
        schema[key] = number
    item.update(_text_limits(limits, value))
    if _is_required(field):
        _refuse_default(schema, field)
    if value.cpp_type in FLOATS:
        _finish_float(item, limits)
    elif value.cpp_type not in INT64:  # those are strings
        item.update(_number_limits(limits))
    if field.name == "page_size":
        found = DEFAULT_PAGE.search(schema["description"])
        if found is None:
            raise RuntimeError(f"the comment of {field.full_name} does not say its default")
        schema["default"] = int(found[1])


def _refuse_default(schema: Node, field: FieldDescriptor) -> None:
    """A required field that holds its default counts as missing."""
    if field.is_repeated:
        schema.setdefault("minItems", 1)
    elif field.enum_type is not None:
        schema["enum"].remove(field.enum_type.values_by_number[0].name)
    elif field.type == FieldDescriptor.TYPE_STRING and "pattern" not in schema:
        schema.setdefault("minLength", 1)


def _sizes(limits: limits_pb2.Limits, what: str) -> Iterator[tuple[str, int]]:
    """`what`: of a list its Items, of a map its Properties."""
    if limits.min_items:
        yield f"min{what}", limits.min_items
    if limits.max_items:
        yield f"max{what}", limits.max_items


def _text_limits(limits: limits_pb2.Limits, field: FieldDescriptor) -> Node:
    made: Node = {}
    if field.cpp_type in INT64:
        negative = field.cpp_type == FieldDescriptor.CPPTYPE_INT64 and not (
            limits.HasField("minimum") and limits.minimum >= 0
        )
        digits = 19 if field.cpp_type == FieldDescriptor.CPPTYPE_INT64 else 20
        made["pattern"] = f"^{'-?' if negative else ''}[0-9]{{1,{digits}}}$"
        return made
    if field.type != FieldDescriptor.TYPE_STRING:  # the length of base64 is not that of the bytes
        return made
    if limits.min_length:
        made["minLength"] = limits.min_length
    if limits.max_length:
        made["maxLength"] = limits.max_length
    if limits.uuid:
        made["format"] = "uuid"
    pattern = UUID if limits.uuid else limits.pattern
    if pattern:
        made["pattern"] = f"^(?:{pattern})$"
    return made


def _number_limits(limits: limits_pb2.Limits) -> Node:
    made: Node = {}
    for name in ("minimum", "maximum"):
        if limits.HasField(name):
            number = getattr(limits, name)
            made[name] = int(number) if number.is_integer() else number
    return made


def _finish_float(schema: Node, limits: limits_pb2.Limits) -> None:
    """A number, or one of the texts for what JSON has no number for."""
    number = {"type": schema.pop("type"), "format": schema.pop("format"), **_number_limits(limits)}
    if "minimum" in number or "maximum" in number:
        schema.update(number)
    else:
        schema["anyOf"] = [number, {"type": "string", "enum": NOT_A_NUMBER}]


def _without_path_variables(path: str, operation: Node, schemas: dict[str, Node]) -> None:
    """A body has no fields that the path holds already."""
    if "requestBody" not in operation:
        return
    (media,) = operation["requestBody"]["content"].values()
    schema = schemas[media["schema"]["$ref"].rsplit("/", 1)[1]]
    for name in re.findall(r"\{(\w+)\}", path):
        schema["properties"].pop(
            name
        )  # KeyError: another path has the same body but other variables, and needs a schema of its own
        if name in schema.get("required", []):
            schema["required"].remove(name)
    if not schema.get("required", [None]):
        del schema["required"]


def contracts() -> Contracts:
    """What the protos say."""
    with tempfile.TemporaryDirectory() as folder:
        descriptor_set = Path(folder) / "splitrail.binpb"
        envoy.splitrail_proto_build(descriptor_set)
        return Contracts(descriptor_set.read_bytes())


def text() -> str:
    """The whole document, as it is committed."""
    return json.dumps(finish(generated(), contracts()), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
