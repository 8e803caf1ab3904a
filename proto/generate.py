"""Generates the Python code of the contracts into gen/python (`make proto`).

Run with the project's virtual environment: grpcio-tools brings protoc, mypy-protobuf the type stubs.
"""

import shutil
import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
ROOTS = [HERE / "api", HERE / "internal"]


def generate(target: Path) -> None:
    """Writes messages, services and their type stubs for every proto of api/ and internal/ into `target`, replacing what is there.

    Raises RuntimeError when protoc refuses a file (its message is on stderr).
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    sources = sorted(path for root in ROOTS for path in root.rglob("*.proto"))
    _protoc(sources, f"--python_out={target}", f"--mypy_out=quiet:{target}")
    # Only these hold services: protoc's gRPC plugin writes empty modules for the others.
    services = [path for path in sources if path.stem.endswith("_service")]
    _protoc(services, f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}")
    for package in {path.parent for path in target.rglob("*.py")}:
        (package / "__init__.py").touch()
        (package / "py.typed").touch()


def _protoc(sources: list[Path], *outputs: str) -> None:
    scripts = Path(sys.executable).parent
    arguments = [
        "protoc",
        *(f"-I{root}" for root in ROOTS),
        f"-I{HERE / 'third_party'}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        *outputs,
        *map(str, sources),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed: see its message above")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "gen" / "python")
