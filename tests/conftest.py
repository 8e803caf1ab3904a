"""The whole stack, once a session, and the main job driven through its gateway."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from main_job import ARGUMENTS, EPOCHS, Command, Story, fetched_assets, history
from playwright.sync_api import Browser, sync_playwright
from splitrail_local.shapes import generate
from splitrail_local.testing import RunningStack, running_stack, until


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Postgres, NATS, S3, the three services, one pod and Envoy."""
    with running_stack(tmp_path_factory, only=None) as running:
        yield running


@pytest.fixture(scope="session")
def command(stack: RunningStack) -> Command:
    program = Path(sys.executable).parent / "splitrail"
    environment = {**os.environ, "SPLITRAIL_URL": stack.gateway_url, "SPLITRAIL_TOKEN": stack.admin_token}
    return Command(environment, str(program))


@pytest.fixture(scope="session")
def api(stack: RunningStack) -> Iterator[httpx.Client]:
    """The gateway's JSON, as an administrator."""
    with httpx.Client(
        base_url=stack.gateway_url, headers={"authorization": f"Bearer {stack.admin_token}"}, timeout=30
    ) as client:
        yield client


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    path = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    assert path, "install Debian's package chromium (or Google Chrome) to run the browser tests"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def story(stack: RunningStack, command: Command, api: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Import, split, train with the pod killed (-9) after its first epoch, evaluate."""
    source = tmp_path_factory.mktemp("shapes")
    shutil.rmtree(source)
    generate(source, images=120, size=64, seed=1)
    command.run("dataset", "import", str(source), "--name", "cells")
    command.run("split", "create", "cells@v1", "--ratios", "0.7,0.15,0.15", "--seed", "42", "--stratify")
    started = command.json("train", "data=cells@v1", "model=yolov8n", f"epochs={EPOCHS}", *ARGUMENTS, "--detach")
    run_id = started["runId"]
    with (
        open(source.parent / "watch.ndjson", "w+") as output,
        subprocess.Popen(
            [command.program, "run", "watch", run_id, "-o", "json"],
            env=command.environment,
            stdout=output,
            stderr=subprocess.DEVNULL,
        ) as watching,
    ):
        try:
            until(lambda: history(api, run_id), "the first epoch", 240)
            killed_pid = stack.kill("pod")
            assert watching.wait(timeout=600) == 0
        finally:
            watching.kill()  # the end of the block would wait for it for ever
        output.seek(0)
        watched = [json.loads(line) for line in output]
    run = api.get(f"/api/runs/{run_id}").raise_for_status().json()["run"]
    assert run["job"]["state"] == "JOB_STATE_SUCCEEDED", run["job"]
    staged_for_training = until(lambda: fetched_assets(stack), "the access log", 120)
    evaluation = command.json("eval", "run", run["reference"], "--split", "test")
    return Story(source, run, evaluation, watched, killed_pid, staged_for_training)
