"""The Go module: generated code as committed, and its own tests."""

import filecmp
import os
import sys
from pathlib import Path

import pytest

from .programs import GO, require, run

pytestmark = pytest.mark.clients
BUF = str(Path(sys.executable).parent / "buf")


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    require("go", ["go"])


def test_generated_code_is_what_the_protos_say(tmp_path: Path):
    run([BUF, "generate", "--template", "../../proto/buf.gen.go.yaml", "--output", str(tmp_path)], GO)
    fresh, committed = tmp_path / "splitrail", GO / "splitrail"
    names = files(fresh)
    assert names
    assert names == files(committed)
    _, differing, errors = filecmp.cmpfiles(fresh, committed, names, shallow=False)
    assert not differing, "run `make proto-clients` and commit the result"
    assert not errors
    assert not [name for name in names if "internal" in Path(name).parts]


def test_the_module():
    """Vet, format and the tests against servers that cut connections."""
    assert run(["gofmt", "-l", "."], GO) == ""
    run(["go", "mod", "tidy", "-diff"], GO)
    run(["go", "vet", "./..."], GO)
    run(["go", "test", "./..."], GO)


def files(folder: Path) -> list[str]:
    return sorted(os.path.relpath(path, folder) for path in folder.rglob("*") if path.is_file())
