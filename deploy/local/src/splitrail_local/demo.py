"""The demo: the main job through the `splitrail` command, from a folder of images to the mAP on a test split that
training never saw.
"""

# ruff: noqa: T201 - a demo prints

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import splitrail_client
from splitrail_client.references import dataset_name
from splitrail_client.text import counted

from splitrail_local import recipe, shapes
from splitrail_local.errors import StackError
from splitrail_local.programs import script
from splitrail_local.stack import Stack

RATIOS = "0.7,0.15,0.15"
SEED = 42
SHAPES_NAME = "shapes"


@dataclass(slots=True)
class Steps:
    """Runs the steps one after the other, saying what is run and noting how long it took."""

    environment: Mapping[str, str]
    seconds: dict[str, float] = field(default_factory=dict)

    def command(self, title: str, *arguments: str) -> None:
        """Run `splitrail ARGUMENTS`, its output straight to the terminal; StackError when it fails."""
        self._run(title, arguments, None)

    def document(self, title: str, *arguments: str) -> Any:
        """As `command`, with `-o json`: what it shows while it works still goes to the terminal (stderr), and what it
        answers is returned.
        """
        return json.loads(self._run(title, (*arguments, "-o", "json"), subprocess.PIPE))

    def _run(self, title: str, arguments: tuple[str, ...], stdout: int | None) -> str:
        print(f"\n$ {shlex.join(('splitrail', *arguments))}", flush=True)
        with self.timed(title):
            done = subprocess.run(
                [str(script("splitrail", "splitrail-client")), *arguments],
                check=False,
                env=self.environment,
                stdout=stdout,
                text=True,
            )
        if done.returncode != 0:
            raise StackError(
                f"the step {title!r} failed (exit code {done.returncode}): splitrail {shlex.join(arguments)}"
            )
        return done.stdout or ""

    @contextmanager
    def timed(self, title: str) -> Iterator[None]:
        """Note how long the block takes."""
        begin = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - begin


def demo(stack: Stack, start: Callable[[], None], data: Path | None, ci: bool) -> None:
    """Start the stack (`start`), run the main job on `data` (None: generated shapes), and stop the stack: at once when
    `ci`, else at Ctrl-C.

    In `ci` mode the last line is `test mAP50 = 0.xxx`. Raises StackError when a step fails.
    """
    if data is not None and not data.is_dir():
        raise StackError(
            f"{data} is not a folder: DATA= names one with images and their annotations (README.md lists the formats)."
        )
    before = signal.signal(signal.SIGTERM, _interrupt)
    steps = Steps(dict(os.environ))
    try:
        with steps.timed("start the stack"):
            start()
        client = {"SPLITRAIL_URL": stack.state.gateway_url, "SPLITRAIL_TOKEN": stack.state.admin_token_file.read_text()}
        steps.environment = {**os.environ, **client}
        map50 = main_job(stack.state.root, steps, data)
        print("\n" + "\n".join(f"{seconds:7.1f} s  {title}" for title, seconds in steps.seconds.items()))
        if not ci:
            print(
                f"\ntest mAP50 = {map50:.3f}\nThe web page: {stack.state.page_address}\nCtrl-C stops everything; the state stays.",
                flush=True,
            )
            with suppress(KeyboardInterrupt):
                signal.pause()
    except splitrail_client.SplitrailError as error:
        raise StackError(str(error)) from error
    finally:
        print("stopping the stack", file=sys.stderr)
        stack.down()
        signal.signal(signal.SIGTERM, before)
    if ci:
        print(f"test mAP50 = {map50:.3f}", flush=True)


def main_job(root: Path, steps: Steps, data: Path | None) -> float:
    """Import, split, train, plots, evaluate; returns the mAP50 on the test split. Images are generated below `root`.

    Each step works on what the one before says it has made: the newest could be somebody else's.
    """
    folder, arguments = data, recipe.OWN_DATA
    if folder is None:
        folder, arguments = root / "demo" / SHAPES_NAME, recipe.SHAPES
        with steps.timed("generate images"):
            shutil.rmtree(folder, ignore_errors=True)
            shapes.generate(folder)
    imported = steps.document("import", "dataset", "import", str(folder), "--name", dataset_name(folder))
    made, version = imported["version"], imported["reference"]
    counts = {"image": made["imageCount"], "object": made["objectCount"], "problem": imported["problemCount"]}
    sizes = [counted(count, noun) for noun, count in counts.items()]
    print(f"{version} {', '.join(sizes)}", flush=True)
    steps.command("split", "split", "create", version, "--ratios", RATIOS, "--seed", str(SEED), "--stratify")
    values = [f"{key}={value}" for key, value in {"data": version, "model": recipe.MODEL, **arguments}.items()]
    run = steps.document("train", "train", *values)["reference"]
    steps.command("plots", "run", "plots", run)
    evaluation = steps.document("evaluate", "eval", "run", run, "--split", "test")
    steps.command("result", "eval", "get", evaluation["reference"])
    return float(evaluation["result"]["overall"]["mAP50"])  # NaN is a word in JSON


def _interrupt(number: int, frame: object) -> None:
    """SIGTERM stops the demo as Ctrl-C does: the stack must not stay behind."""
    raise KeyboardInterrupt
