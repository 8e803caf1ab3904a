"""One journey in five languages against a real gateway, with the metrics service killed in the middle of each.

`make test-clients`; with CLIENTS_EMPTY_CACHES=1 the first build of each language downloads and compiles everything.
"""

import json
import math
import os
import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from splitrail_local.shapes import generate
from splitrail_local.testing import RunningStack

from .conftest import EMPTY_CACHES, Times
from .programs import PROGRAMS, Program, require

pytestmark = [pytest.mark.clients, pytest.mark.integration]
IMAGES = 40
EPOCHS = 4
LINE_SECONDS = 180
"""Longest wait for a program's next line: the first epoch waits for a pod that imports torch."""


class Journey:
    """A running program and the lines that it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Each line as it comes; fails when none comes for too long."""
        while (line := self._next()) is not None:
            yield json.loads(line)

    def _next(self) -> str | None:
        try:
            return self._lines.get(timeout=LINE_SECONDS)
        except queue.Empty:
            pytest.fail(f"no line for {LINE_SECONDS} s")


@contextmanager
def started(program: Program, environment: dict[str, str], log: Path) -> Iterator[Journey]:
    """Runs a program; checks at the end that it exits with 0, and shows what it wrote to stderr if not."""
    with (
        open(log, "w+") as errors,
        subprocess.Popen(
            program.command, cwd=program.folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            yield Journey(process)
            code = process.wait(timeout=60)
        finally:
            process.kill()  # the end of the block would wait for it for ever
            errors.seek(0)
            print(errors.read()[-4000:])
        assert code == 0, f"{program.language} exits with {code}"


@pytest.mark.parametrize("number", range(len(PROGRAMS)), ids=[program.language for program in PROGRAMS])
def test_journey(number: int, stack: RunningStack, times: Times, tmp_path: Path):
    program = PROGRAMS[number]
    require(program.language, program.tools)
    if program.build:
        program.remove_outputs()
        cache = tmp_path / "cache" if EMPTY_CACHES else None
        times.add(program.language, "first", program.built(cache))
        times.add(program.language, "warm", program.built(cache))
    generate(
        tmp_path / "shapes", images=IMAGES, size=64, seed=100 + number
    )  # contents that no other program has uploaded
    token = stack.user_token({"default": "editor"}, subject=f"journey-{program.language}")
    environment = {
        **os.environ,
        "SPLITRAIL_URL": stack.gateway_url,
        "SPLITRAIL_TOKEN": token,
        "JOURNEY_FOLDER": str(tmp_path / "shapes"),
        "JOURNEY_DATASET": f"journey-{program.language}",
    }
    told: list[dict[str, Any]] = []
    killed = 0
    began = time.monotonic()
    with started(program, environment, tmp_path / "stderr") as journey:
        for line in journey.lines():
            told.append(line)
            if line["step"] == "epoch" and not killed:
                killed = stack.kill("metrics")
    times.add(program.language, "journey", time.monotonic() - began)
    stack.restored("metrics", killed)
    with httpx.Client(base_url=stack.gateway_url, headers={"authorization": f"Bearer {token}"}, timeout=30) as api:
        check(told, api)


def check(told: list[dict[str, Any]], api: httpx.Client) -> None:
    """What a program told is complete, and what the platform says too."""
    steps = ["import", "split", "run", *["epoch"] * EPOCHS, "closed", "plot", "evaluation", "refusal", "done"]
    assert [line["step"] for line in told] == steps
    imported, split, run, *epochs, closed, plot, evaluation, refusal, _ = told
    assert imported["images"] == IMAGES
    assert imported["uploads"] >= IMAGES
    assert run["same"] is True

    stored = api.get(f"/api/runs/{run['run_id']}").raise_for_status().json()["run"]
    assert (stored["datasetId"], stored["versionId"]) == (imported["dataset_id"], imported["version_id"])
    assert (stored["splitId"], stored["splitDigest"]) == (split["split_id"], split["digest"])
    runs = api.get("/api/runs", params={"dataset_id": imported["dataset_id"]}).raise_for_status().json()["runs"]
    assert [item["runId"] for item in runs] == [run["run_id"]], "one request_id made one run, and the refusal none"

    metrics = api.get(f"/api/runs/{run['run_id']}/metrics").raise_for_status().json()
    assert [(line["epoch"], line["seq"]) for line in epochs] == [
        (item["epoch"], int(item["seq"])) for item in metrics["epochs"]
    ]
    assert [line["epoch"] for line in epochs] == list(range(1, EPOCHS + 1))
    assert closed["interruptions"] >= 1, "the kill of the metrics service was not noticed"

    sizes = {item["name"]: int(item["sizeBytes"]) for item in metrics["plots"]}
    assert plot["bytes"] == sizes[plot["name"]]

    result = (
        api.get(f"/api/evaluations/{evaluation['evaluation_id']}").raise_for_status().json()["evaluation"]["result"]
    )
    assert result["part"] == "PART_TEST"
    assert evaluation["images"] == result["images"] > 0
    assert math.isclose(evaluation["mAP50"], float(result["overall"]["mAP50"]), rel_tol=1e-9)

    assert str(refusal["code"]).replace("_", "").lower() in ("invalidargument", "3")
    assert (refusal["reason"], refusal["field"]) == ("INVALID_FIELD", "arguments.epohcs")
