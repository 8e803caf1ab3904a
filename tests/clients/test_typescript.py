"""The TypeScript package: generated code as committed, and its own tests."""

import filecmp
import os
import sys
from pathlib import Path

import pytest

from .programs import TYPESCRIPT, require, run

pytestmark = pytest.mark.clients
VARIABLES = {"BUF": str(Path(sys.executable).parent / "buf")}


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """What package-lock.json pins."""
    require("typescript", ["node", "npm"])
    run(["npm", "ci", "--no-audit", "--no-fund"], TYPESCRIPT)


def test_generated_code_is_what_the_protos_say(tmp_path: Path):
    # buf writes to the template's `out`, clients/typescript/src/gen, below the folder that --output names.
    run(["npm", "run", "generate", "--", "--output", str(tmp_path / "proto")], TYPESCRIPT, VARIABLES)
    fresh, committed = tmp_path / "clients" / "typescript" / "src" / "gen", TYPESCRIPT / "src" / "gen"
    names = files(fresh)
    assert names
    assert names == files(committed)
    _, differing, errors = filecmp.cmpfiles(fresh, committed, names, shallow=False)
    assert not differing, "run `make proto-clients` and commit the result"
    assert not errors


def test_the_package():
    """`npm test` compiles strictly and runs the tests against servers that cut connections."""
    run(["npm", "test"], TYPESCRIPT)


def files(folder: Path) -> list[str]:
    return sorted(os.path.relpath(path, folder) for path in folder.rglob("*") if path.is_file())
