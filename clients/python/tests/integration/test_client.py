"""The synchronous client through a real gateway to real services; no pod, so that jobs stay queued. The whole job is in /tests."""

import os
import signal
from collections.abc import Iterator

import pytest
import splitrail_client
from splitrail.events.v1 import run_event_pb2
from splitrail_local.shapes import generate
from splitrail_local.stack import PARTS
from splitrail_local.testing import RunningStack, running_stack

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory, only=[part for part in PARTS if part != "pod"]) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack) -> Iterator[splitrail_client.Client]:
    with splitrail_client.connect(stack.gateway_url, stack.admin_token) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("cells")
    generate(root, images=30, size=48, seed=1)
    (root / "labels" / "shapes_0003.txt").write_text("99 0.5 0.5 0.1 0.1\n")
    return root


@pytest.fixture(scope="module")
def imported(client, folder):
    return client.import_dataset(folder, "cells")


def test_an_import_and_its_repetition(client, folder, imported):
    contents = {path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert (imported.reference, imported.uploaded_files) == ("cells@v1", len(contents))
    problems = client.problems(imported.report.import_id)
    assert len(problems) == imported.report.problem_count
    assert ("labels/shapes_0003.txt", 1) in [(problem.path, problem.line) for problem in problems]
    again = client.import_dataset(folder, "cells")
    assert (again.reference, again.uploaded_files) == ("cells@v1", 0)
    assert [item.name for item in client.datasets()] == ["cells"]


def test_strict_and_dry_run_commit_nothing(client, folder, imported):
    with pytest.raises(splitrail_client.ImportFailedError) as caught:
        client.import_dataset(folder, "strict", strict=True)
    assert (caught.value.exit_code, caught.value.report.problem_count) == (3, imported.report.problem_count)
    assert client.import_dataset(folder, "dry", dry_run=True).reference == ""
    assert [item.name for item in client.datasets()] == ["cells"]


def test_a_watch_outlives_the_service_and_ends_with_the_run(client, stack, imported):
    split = client.split("cells@v1", seed=1)
    assert client.get_split("cells@v1").split_id == split.split_id
    run = client.train(data="cells@v1", model="yolov8n", epochs=3, labels={"team": "x"})
    interruptions = []
    watching = client.watch(run, on_interruption=lambda error, seconds: interruptions.append(error))
    states = [next(watching).state.state]
    os.kill(stack.pid("metrics"), signal.SIGKILL)
    assert client.cancel(run).run_id == run.run_id
    states += [event.state.state for event in watching]
    assert states == [run_event_pb2.JOB_STATE_QUEUED, run_event_pb2.JOB_STATE_CANCELLED]
    assert interruptions
    assert client.run(run.reference).job.state == run_event_pb2.JOB_STATE_CANCELLED


def test_refusals_name_their_fields(client, imported):
    with pytest.raises(splitrail_client.RefusedError) as caught:
        client.train(data="cells@v1", model="yolov8n", epochs="abc", nosuch=1, lr0=float("nan"))
    assert caught.value.reason == "INVALID_FIELD"
    assert {item.field for item in caught.value.violations} == {"arguments.epochs", "arguments.nosuch", "arguments.lr0"}


def test_a_strangers_token_is_refused(stack):
    with (
        splitrail_client.connect(stack.gateway_url, "no.good.token") as stranger,
        pytest.raises(splitrail_client.RefusedError, match="accept the token"),
    ):
        stranger.runs()
