"""The journey's five programs: how each is built and started."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "tests" / "clients"
GO, TYPESCRIPT, JAVA = (ROOT / "clients" / name for name in ("go", "typescript", "java"))
BUILD_SECONDS = 600


@dataclass(frozen=True)
class Program:
    """A program that makes the journey."""

    language: str
    source: Path
    """What the pages below docs/clients/ quote."""
    tools: Sequence[str]
    """Programs that it needs besides Python; without one of them it is skipped, but not on CI."""
    command: Sequence[str]
    folder: Path = HERE
    outputs: Sequence[str] = ()
    """What building leaves below `folder`."""
    build: Sequence[Sequence[str]] = ()
    """Commands that build it in `folder`. They may use their own caches (Go's, Maven's, npm's), which go by content or
    version.
    """
    caches: Mapping[str, str] = field(default_factory=dict)
    """Environment variable -> value, in which {cache} is a folder: moves those caches there."""

    def remove_outputs(self) -> None:
        for name in self.outputs:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def built(self, cache: Path | None = None) -> float:
        """Builds it, and returns the seconds that it took. `cache`: where its caches lie instead of their usual place."""
        began = time.monotonic()
        moved = {name: value.format(cache=cache) for name, value in self.caches.items()} if cache else {}
        for command in self.build:
            run(command, self.folder, moved)
        return time.monotonic() - began


def run(command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> str:
    """What a command prints; fails with its end unless the command exits with 0."""
    environment = {**os.environ, **(variables or {})}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)} in {folder}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def require(language: str, tools: Sequence[str]) -> None:
    """Skips a test for the tools that are missing; on CI nothing may be missing."""
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        reason = f"{language}: there is no {' and no '.join(missing)} here"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


PROGRAMS = (
    Program("python", HERE / "journey.py", [], [sys.executable, str(HERE / "journey.py")]),
    Program(
        "go",
        GO / "cmd" / "journey" / "main.go",
        ["go"],
        [str(ROOT / "test-output" / "journey")],
        folder=GO,
        build=[["go", "build", "-o", "../../test-output/journey", "./cmd/journey"]],
        caches={"GOCACHE": "{cache}/build", "GOMODCACHE": "{cache}/modules", "GOFLAGS": "-modcacherw"},
    ),
    Program(
        "typescript",
        TYPESCRIPT / "journey" / "journey.ts",
        ["node", "npm"],
        ["node", str(TYPESCRIPT / "build" / "journey" / "journey.js")],
        folder=TYPESCRIPT,
        outputs=["node_modules", "dist", "build"],
        build=[["npm", "ci", "--no-audit", "--no-fund"], ["npx", "--no-install", "tsc", "--build"]],
        caches={"npm_config_cache": "{cache}"},
    ),
    Program(
        "java",
        JAVA / "src" / "main" / "java" / "dev" / "splitrail" / "journey" / "Journey.java",
        ["java", "mvn"],
        ["java", "-cp", f"{JAVA}/target/classes:{JAVA}/target/lib/*", "dev.splitrail.journey.Journey"],
        folder=JAVA,
        outputs=["target"],
        build=[["mvn", "-q", "-B", "-DskipTests", "package"]],
        caches={"MAVEN_OPTS": "-Dmaven.repo.local={cache}"},
    ),
    Program("curl", HERE / "journey.sh", ["bash", "curl"], ["bash", str(HERE / "journey.sh")]),
)
