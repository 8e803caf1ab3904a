"""Tiny jobs for the training process: a data set of coloured squares, and the process itself as a child."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import splitrail_pod
from PIL import Image, ImageDraw
from splitrail_pod.exchange.messages import Order, Record, SpoolMessage
from splitrail_pod.exchange.spool import SpoolReader

R = TypeVar("R", bound=SpoolMessage)
SIZE = 64
CLASS_NAMES = ["red", "blue"]
ARGUMENTS = {
    "epochs": 2.0,
    "batch": 4,
    "nbs": 4,
    "imgsz": SIZE,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 0,
    "mosaic": 0.0,
    "close_mosaic": 0,
}
SOURCE = Path(splitrail_pod.__file__).parents[1]


def write_split(directory: Path, split: str, images: int, seed: int) -> None:
    """Lay out `images` images of a split as the supervisor does: one or two squares each, the last image empty."""
    rng = random.Random(seed)
    for kind in ("images", "labels"):
        (directory / "data" / kind / split).mkdir(parents=True)
    for index in range(images):
        canvas = Image.new("RGB", (SIZE, SIZE), (40, 40, 40))
        lines = []
        for kind in range(0 if index == images - 1 else 1 + index % 2):
            x, y, side = rng.randrange(0, 30), 32 * kind + rng.randrange(0, 8), rng.randrange(16, 24)
            ImageDraw.Draw(canvas).rectangle(
                [x, y, x + side - 1, y + side - 1], fill=(220, 30, 30) if kind == 0 else (30, 30, 220)
            )
            lines.append(f"{kind} {(x + side / 2) / SIZE} {(y + side / 2) / SIZE} {side / SIZE} {side / SIZE}\n")
        canvas.save(directory / "data" / "images" / split / f"{split}{index}.png")
        (directory / "data" / "labels" / split / f"{split}{index}.txt").write_text("".join(lines))


@dataclass
class Job:
    """A job of the training process in a directory of its own."""

    directory: Path
    cache: Path
    fields: dict[str, Any]
    hooks: Path
    process: subprocess.Popen[bytes] | None = None
    seen: list[Record] = field(default_factory=list)

    def start(self) -> None:
        """Start the process, its standard input held open by us."""
        specification = self.directory / "spec.json"
        common = {
            "directory": str(self.directory),
            "spool": str(self.directory / "spool"),
            "cache_directory": str(self.cache),
            "class_names": CLASS_NAMES,
            "device": "cpu",
        }
        specification.write_text(json.dumps(common | self.fields))
        self._reader = SpoolReader(self.directory / "spool")
        environment = os.environ | {
            "PYTHONPATH": f"{self.hooks}{os.pathsep}{SOURCE}",
            "AWS_SECRET_ACCESS_KEY": "canary",
        }
        with (self.directory / "stdout").open("wb") as out, (self.directory / "stderr").open("wb") as err:
            command = [sys.executable, "-m", "splitrail_pod.training", str(specification)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err, env=environment)

    def order(self, order: Order) -> None:
        """Give an order."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(order.encode() + b"\n")
        self.process.stdin.flush()

    def wait_for(self, kind: type[R], wanted: Callable[[R], bool] = lambda record: True, seconds: float = 120) -> R:
        """The first record of a kind that `wanted` accepts."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for record in self._reader.read_new():
                self.seen.append(record)
                if isinstance(record, kind) and wanted(record):
                    return record
            assert self.process is not None
            assert self.process.poll() is None, self.stderr()
            time.sleep(0.01)
        raise AssertionError(f"not within {seconds} s; {self.stderr()}")

    def end(self, seconds: float = 120) -> int:
        """Wait for the exit status; standard input stays open meanwhile."""
        assert self.process is not None
        status = self.process.wait(seconds)
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.seen += self._reader.read_new()
        return status

    def run(self) -> int:
        """Start, and wait for the end."""
        self.start()
        return self.end()

    def records(self, kind: type[R]) -> list[R]:
        """The records of a kind, so far."""
        return [record for record in self.seen if isinstance(record, kind)]

    def stderr(self) -> str:
        """What the process printed for people."""
        return (self.directory / "stderr").read_text(errors="replace")


@pytest.fixture(scope="session")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose sitecustomize.py forbids and notes every use of the network by a child."""
    folder = tmp_path_factory.mktemp("hooks")
    (folder / "sitecustomize.py").write_text(
        f"""
import sys
def hook(event, arguments):
    if event in {{"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind", "urllib.Request"}}:
        with open({str(folder / "network")!r}, "a") as file:
            file.write(event + repr(arguments) + chr(10))
        raise PermissionError(event)
sys.addaudithook(hook)
"""
    )
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pod's cache directory, kept between jobs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def make_job(tmp_path_factory: pytest.TempPathFactory, hooks: Path, cache: Path) -> Iterator[Callable[..., Job]]:
    """Makes jobs; whatever they left running is killed at the end."""
    jobs: list[Job] = []

    def make(splits: dict[str, int], **fields: Any) -> Job:
        directory = tmp_path_factory.mktemp("job")
        for seed, (split, images) in enumerate(splits.items()):
            write_split(directory, split, images, seed)
        job = Job(directory, cache, {"expected": splits} | fields, hooks)
        jobs.append(job)
        return job

    yield make
    for job in jobs:
        if job.process is not None and job.process.poll() is None:
            job.process.kill()
            job.process.wait(10)


@pytest.fixture(scope="session")
def make_training(make_job: Callable[..., Job]) -> Callable[..., Job]:
    """Makes trainings of a nano model on twelve images."""

    def make(*, resume: dict[str, Any] | None = None, **arguments: Any) -> Job:
        merged = ARGUMENTS | arguments
        return make_job({"train": 12, "val": 4}, kind="train", model="yolov8n", arguments=merged, seed=3, resume=resume)

    return make
