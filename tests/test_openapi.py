"""proto/openapi.json: what the contracts say, valid, with their limits."""

import importlib.util
import json
import shutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from openapi_spec_validator import validate

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT: dict[str, Any] = json.loads((ROOT / "proto" / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]


@cache
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("openapi", ROOT / "proto" / "openapi.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_document_is_what_the_contracts_say():
    if shutil.which("go") is None and not (generator().GO_BIN / "protoc-gen-openapi").exists():
        pytest.skip("there is no Go, in which the generator is written")
    assert generator().text() == (ROOT / "proto" / "openapi.json").read_text(), (
        "run `make proto-clients` and commit the result"
    )


def test_it_is_valid():
    validate(DOCUMENT)


def test_every_binding_of_every_public_rpc_is_there_and_none_else():
    contracts = generator().contracts()
    bound = sorted(
        (binding.method.lower(), len(binding.segments)) for rpc in contracts.rpcs for binding in rpc.bindings
    )
    assert (
        sorted((method, len(path.replace(":", "/:").strip("/").split("/"))) for path, method, _ in operations())
        == bound
    )
    assert len({operation["operationId"] for _, _, operation in operations()}) == len(bound)
    assert "splitrail.internal" not in json.dumps(DOCUMENT)


def test_every_list_says_its_page_size():
    sizes = [
        parameter
        for _, _, operation in operations()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "pageSize"
    ]
    assert len(sizes) >= 10
    assert all(parameter["schema"]["default"] > 0 for parameter in sizes)


def test_limits_stand_beside_the_fields():
    created = SCHEMAS["splitrail.split.v1.CreateDatasetRequest"]
    assert created["required"] == ["name"]
    assert created["properties"]["name"] | {"description": ""} == {
        "type": "string",
        "description": "",
        "maxLength": 64,
        "pattern": "^(?:[A-Za-z0-9][A-Za-z0-9._-]*)$",
    }
    assert created["properties"]["labels"]["maxProperties"] == 64
    assert created["properties"]["labels"]["additionalProperties"]["maxLength"] == 1024
    (run_id,) = [
        item for item in DOCUMENT["paths"]["/api/runs/{runId}"]["get"]["parameters"] if item["name"] == "runId"
    ]
    assert run_id["schema"]["format"] == "uuid"
    (reference,) = [
        item for item in DOCUMENT["paths"]["/api/runs:resolve"]["get"]["parameters"] if item["name"] == "reference"
    ]
    assert reference["required"]


def test_errors_and_streams():
    for _, _, operation in operations():
        error = operation["responses"]["default"]["content"]["application/json"]["schema"]
        assert error == {"$ref": "#/components/schemas/google.rpc.Status"}
    content = DOCUMENT["paths"]["/api/runs/{runId}/watch"]["get"]["responses"]["200"]["content"]
    assert set(content) == {"application/x-ndjson", "text/event-stream"}
