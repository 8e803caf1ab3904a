"""The public contracts of the last release, release.binpb, and what has changed since.

A change that breaks generated code (buf breaking, FILE) is free until 1.0, but CHANGELOG.md must name its package below
`## Unreleased`: tests/test_generation.py calls `check`. Run as a script (`make release-contracts`), with the project's
virtual environment, it makes the present contracts those of the last release.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
RELEASE = HERE / "release.binpb"
CHANGELOG = HERE.parent / "CHANGELOG.md"
BUF = Path(sys.executable).parent / "buf"
_DELETED = re.compile(r'Previously present file "([^"]+)" was deleted')
_UNRELEASED = re.compile(r"^## Unreleased$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def build(target: Path) -> None:
    """Writes the descriptors of the public contracts, without their comments. Raises CalledProcessError when buf
    refuses them.
    """
    subprocess.run(
        [BUF, "build", ".", "--path", "api/splitrail", "--exclude-source-info", "-o", target], cwd=HERE, check=True
    )


def breaking_changes(now: Path, before: Path) -> Counter[str]:
    """How many changes between two sets of descriptors break generated code, by proto package. Raises RuntimeError when
    buf fails otherwise.
    """
    command = [BUF, "breaking", now, "--against", before, "--exclude-imports", "--error-format", "json"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 100):  # 100: there are such changes
        raise RuntimeError(f"buf breaking: {done.stderr}")
    return Counter(_package(json.loads(line)) for line in done.stdout.splitlines())


def _package(change: dict[str, str]) -> str:
    """A file's package is its folder. A file that was deleted is named in the message only."""
    path = change.get("path") or _DELETED.findall(change["message"])[0]
    return path.rpartition("/")[0].replace("/", ".")


def unnamed(changes: Counter[str], changelog: str) -> list[str]:
    """The changed packages that CHANGELOG.md does not name below `## Unreleased`."""
    section = _UNRELEASED.search(changelog)
    text = section[1] if section else ""
    return sorted(package for package in changes if not re.search(rf"(?<![\w.]){re.escape(package)}(?![\w.]*\w)", text))


def check() -> list[str]:
    """A sentence for each package whose callers break without a word about it."""
    with tempfile.TemporaryDirectory() as folder:
        now = Path(folder) / "now.binpb"
        build(now)
        changes = breaking_changes(now, RELEASE)
    missing = unnamed(changes, CHANGELOG.read_text() if CHANGELOG.exists() else "")
    return [
        f"{package}: {changes[package]} changes since the last release break generated code (buf breaking): say below `## Unreleased` of "
        f"CHANGELOG.md, in a line that names {package}, what callers must do, or take the changes back"
        for package in missing
    ]


if __name__ == "__main__":
    build(RELEASE)
