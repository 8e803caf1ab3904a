"""Generates the Python code of the contracts into gen/python (`make proto`).

Run with the project's virtual environment: grpcio-tools brings protoc, mypy-protobuf the type stubs.
"""

import shutil
import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent


def generate(target: Path) -> None:
    """Writes messages, services and their type stubs for every proto of api/ into `target`, replacing what is there.

    Raises RuntimeError when protoc refuses a file (its message is on stderr).
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    well_known = str(files("grpc_tools") / "_proto")
    sources = sorted(str(path) for path in (HERE / "api").rglob("*.proto"))
    scripts = Path(sys.executable).parent
    arguments = [
        "protoc",
        f"-I{HERE / 'api'}",
        f"-I{HERE / 'third_party'}",
        f"-I{well_known}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
        *sources,
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed: see its message above")
    for package in {path.parent for path in target.rglob("*.py")}:
        (package / "__init__.py").touch()
        (package / "py.typed").touch()


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "gen" / "python")
