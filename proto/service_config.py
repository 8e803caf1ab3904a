"""Writes service_config.json from the contracts (`make proto`): which calls a gRPC client may repeat by itself.

UNAVAILABLE is repeated on every unary RPC: reads, and mutations, all of which carry a request_id. Never on a stream,
which is opened again from its cursor instead. Run with the project's virtual environment. The Go module and the Python
package hold copies, because neither can read beyond itself.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "service_config.json"
COPIES = [
    HERE.parent / "clients" / "go" / "service_config.json",
    HERE.parent / "clients" / "python" / "src" / "splitrail_client" / "service_config.json",
]
RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def public_files() -> list[FileDescriptor]:
    """The descriptors of api/, by path."""
    names = [path.relative_to(HERE / "api").with_suffix("") for path in sorted((HERE / "api").rglob("*.proto"))]
    return [import_module(".".join(name.parts) + "_pb2").DESCRIPTOR for name in names]


def methods(files: list[FileDescriptor]) -> list[MethodDescriptor]:
    """Every RPC, in the order of the protos."""
    return [method for file in files for service in file.services_by_name.values() for method in service.methods]


def contents() -> dict[str, Any]:
    """What service_config.json holds."""
    names = [
        {"service": method.containing_service.full_name, "method": method.name}
        for method in methods(public_files())
        if not method.client_streaming and not method.server_streaming
    ]
    return {"methodConfig": [{"name": names, "retryPolicy": RETRY_POLICY}]}


def text() -> str:
    """The same as JSON."""
    return json.dumps(contents(), indent=2) + "\n"


if __name__ == "__main__":
    for path in (CONFIG, *COPIES):
        path.write_text(text())
