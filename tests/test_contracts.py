"""The contracts: lint, generated code as committed, every message of the public API described."""

import filecmp
import re
import subprocess
import sys
from pathlib import Path

import pytest
from splitrail.errors.v1 import error_reason_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=PROTO, capture_output=True, text=True, check=False, timeout=120)


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_generated_code_is_what_the_protos_say(tmp_path):
    done = run(sys.executable, "generate.py", str(tmp_path / "python"))
    assert done.returncode == 0, done.stderr
    fresh = files(tmp_path / "python")
    assert fresh == files(PROTO / "gen" / "python")
    _, differing, errors = filecmp.cmpfiles(tmp_path / "python", PROTO / "gen" / "python", [str(path) for path in fresh], shallow=False)
    assert not differing, "run `make proto` and commit the result"
    assert not errors


@pytest.mark.parametrize("arguments", [("lint",), ("format", "--diff", "--exit-code", "api")])
def test_buf_is_content(arguments):
    done = run(str(Path(sys.executable).parent / "buf"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_reason_is_raised_somewhere():
    """A reason that nobody raises is a promise that clients would wait for in vain."""
    sources = "\n".join(path.read_text() for path in (ROOT / "services").rglob("*.py") if "tests" not in path.parts)
    later = {"UNSPECIFIED", "IMPORT_REFUSED"}
    unused = [name for name in error_reason_pb2.ErrorReason.keys() if name not in sources and name.removeprefix("ERROR_REASON_") not in later]  # noqa: SIM118 - an enum wrapper
    assert unused == []


def test_architecture_names_tests_that_exist():
    """Each invariant of ARCHITECTURE.md names its test as `file::test`."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    section = text.split("## Invariants", 1)[1]
    named = re.findall(r"`([\w/.-]+\.py)::(\w+)`", section)
    assert len(named) >= 9
    for path, name in named:
        assert re.search(rf"^\s*(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path} has no {name}"
