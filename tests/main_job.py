"""What the tests of the whole share: the command, the recipe, what the main job left."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from splitrail_local.shapes import generate
from splitrail_local.testing import RunningStack

EPOCHS = 8
ARGUMENTS = [
    "imgsz=64",
    "batch=4",
    "nbs=4",
    "optimizer=AdamW",
    "lr0=0.002",
    "mosaic=0",
    "close_mosaic=0",
    "warmup_epochs=1",
    "seed=0",
]
"""A recipe that finds some of the shapes after a few epochs of a second each."""


@dataclass(frozen=True)
class Command:
    """The `splitrail` command against the session's gateway."""

    environment: dict[str, str]
    program: str

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs it to its end and checks the exit code."""
        done = subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, (
            f"{arguments}: exit code {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def json(self, *arguments: str) -> Any:
        """Runs it with `-o json` and returns what stdout holds."""
        return json.loads(self.run(*arguments, "-o", "json").stdout)


@dataclass(frozen=True)
class Story:
    """What the main job left: ids for the tests that look at it."""

    source: Path
    run: dict[str, Any]
    """JSON of the finished run."""
    evaluation: dict[str, Any]
    watched: list[dict[str, Any]]
    """Every message that a watch through the gateway saw from the start to `closed`, across the kill of the pod."""
    killed_pid: int
    staged_for_training: set[str]
    """SHA-256 of the images that anybody had fetched with a signed URL when training had ended, by S3's own access log.
    """


def fetched_assets(stack: RunningStack) -> set[str]:
    """SHA-256 of every image fetched so far with a signed URL."""
    return assets_in(stack.log("s3log"))


def assets_in(access_log: str) -> set[str]:
    """What signed URLs were used for, by S3's access log; a last line that is still being written does not count."""
    records = [json.loads(line) for line in access_log.rpartition("\n")[0].splitlines()]
    return {
        record["key"].rpartition("/")[2]
        for record in records
        if record["operation"] == "REST.GET.OBJECT" and record["requester"] == "reader" and "/assets/" in record["key"]
    }


def history(api: httpx.Client, run_id: str) -> list[dict[str, Any]]:
    """The effective timeline of a run; empty while nobody knows it."""
    answer = api.get(f"/api/runs/{run_id}/metrics")
    epochs: list[dict[str, Any]] = answer.json().get("epochs", []) if answer.status_code == 200 else []
    return epochs


def import_by_curl(lines: str, variables: Mapping[str, str], folder: Path, name: str = "cells") -> dict[str, Any]:
    """Runs a document's five curl lines, which import cells.zip, in `folder`; what the last message of the watch says
    of the import.
    """
    generate(folder / "cells", images=12, size=32, seed=len(name))
    shutil.make_archive(str(folder / "cells"), "zip", folder, "cells")
    environment = {**variables, "PATH": "/usr/bin:/bin"}
    answers: list[list[dict[str, Any]]] = []
    for line in lines.replace('"cells"', f'"{name}"').replace("cells-1", f"{name}-1").splitlines():
        shell = ["bash", "-c", line.replace("curl", "curl -sS --fail-with-body", 1)]
        done = subprocess.run(
            shell, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        answers.append([json.loads(message) for message in done.stdout.splitlines()])
        if len(answers) == 1:
            environment["IMPORT_ID"] = answers[0][0]["datasetImport"]["importId"]
        elif len(answers) == 2:
            environment["UPLOAD_URL"] = answers[1][0]["uploads"][0]["url"]
    ended: dict[str, Any] = answers[-1][-1]["datasetImport"]
    return ended
