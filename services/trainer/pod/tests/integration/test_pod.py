"""Real pods, real services, real Ultralytics: the main job, and what kills it."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from splitrail.events.v1 import event_pb2
from splitrail.metrics.v1 import metrics_service_pb2
from splitrail.split.v1 import dataset_pb2
from splitrail.trainer.v1 import evaluation_pb2, run_service_pb2
from splitrail_local.testing import eventually
from splitrail_pod.exchange.messages import EpochRecord
from splitrail_pod.exchange.spool import SpoolReader

from .conftest import IMAGES, LEASE_SECONDS, Platform, PodProcess

pytestmark = [pytest.mark.integration, pytest.mark.torch]
StartPod = Callable[..., PodProcess]
JobState = event_pb2.JobState


def kinds(events: list[Any]) -> list[str]:
    return [one.WhichOneof("payload") for one in events]


def effective(events: list[Any]) -> list[int]:
    """Epochs as a watcher applies them: a rolled_back voids what came after; each next one must follow the last."""
    timeline: list[int] = []
    for one in events:
        if one.WhichOneof("payload") == "rolled_back":
            timeline = timeline[: one.rolled_back.epoch]
        elif one.WhichOneof("payload") == "epoch":
            assert one.epoch.epoch == len(timeline) + 1, "an epoch is missing or doubled"
            timeline.append(one.epoch.epoch)
    return timeline


def cached(pod: PodProcess, cache: str) -> set[str]:
    return set(os.listdir(pod.directory / "cache" / cache))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_train_and_evaluate(platform: Platform, start_pod: StartPod) -> None:
    pod = start_pod()
    run_id = await platform.train(2)
    events = await platform.events(run_id)
    run = await platform.run(run_id)
    assert run.job.state == JobState.JOB_STATE_SUCCEEDED, run.job
    assert effective(events) == [1, 2]
    seen = kinds(events)
    assert (
        seen.index("attempt_started")
        < seen.index("stage")
        < seen.index("effective_arguments")
        < seen.index("epoch")
        < seen.index("final_metrics")
    )
    assert {"plot", "log"} <= set(seen)
    started = events[seen.index("attempt_started")].attempt_started
    assert set(started.versions) == {"python", "torch", "ultralytics", "splitrail"}
    assert dict(run.versions)["ultralytics"] == started.versions["ultralytics"]
    artifacts = await platform.runs.ListArtifacts(
        run_service_pb2.ListArtifactsRequest(run_id=run_id), metadata=platform.auth
    )
    assert {"best.pt", "last.pt", "results.csv", "args.yaml"} <= {one.name for one in artifacts.artifacts}
    assert run.checkpoint_epoch == 2
    plots = await platform.metrics.ListPlots(
        metrics_service_pb2.ListPlotsRequest(run_id=run_id), metadata=platform.auth
    )
    assert {"results.png", "confusion_matrix.png"} <= {one.name for one in plots.plots}
    trained_on = cached(pod, "train")

    evaluation_id = await platform.evaluate(run_id)
    await platform.events(evaluation_id)
    check_result(await platform.evaluation(evaluation_id))
    plots = await platform.metrics.ListPlots(
        metrics_service_pb2.ListPlotsRequest(run_id=evaluation_id), metadata=platform.auth
    )
    assert "confusion_matrix.png" in {one.name for one in plots.plots}
    tested_on = cached(pod, "evaluate")
    assert tested_on
    assert not tested_on & trained_on, "bytes of the test set lie in the training cache"
    assert len(tested_on | trained_on) == IMAGES
    assert cached(pod, "train") == trained_on

    pod.process.terminate()
    assert await pod.wait() == 0
    assert os.listdir(pod.directory / "jobs") == []


def check_result(evaluation: evaluation_pb2.Evaluation) -> None:
    assert evaluation.job.state == JobState.JOB_STATE_SUCCEEDED, evaluation.job
    result = evaluation.result
    assert result.part == dataset_pb2.PART_TEST
    assert result.images == IMAGES * 0.2
    assert set(result.overall) == {"mAP50", "mAP50_95", "precision", "recall", "f1"}
    classes = len(result.classes)
    assert list(result.confusion_matrix.class_names) == [one.class_name for one in result.classes]
    assert len(result.confusion_matrix.counts) == (classes + 1) ** 2
    assert {one.name for one in result.curves} == {
        "precision_recall",
        "f1_confidence",
        "precision_confidence",
        "recall_confidence",
    }


async def test_killed_supervisors_children_and_polite_ends_lose_and_double_nothing(
    platform: Platform, start_pod: StartPod
) -> None:
    """One run through three pods: kill -9 of the supervisor, kill -9 of the training process, SIGTERM, and then to its
    end.
    """
    epochs = 8
    run_id = await platform.train(epochs)
    watch = asyncio.create_task(platform.events(run_id, 400))

    async def trained(least: int) -> bool:
        return len(await platform.epochs(run_id)) >= least

    async def stored(least: int) -> bool:
        return (await platform.run(run_id)).checkpoint_epoch >= least

    first = start_pod("first")
    await eventually(lambda: stored(1), "the first checkpoint", 120)
    children = first.children()
    assert len(children) == 1
    first.process.kill()
    await first.wait()

    async def orphan_gone() -> bool:
        return not alive(children[0])

    await eventually(orphan_gone, "the training process dies with its supervisor", 10)

    second = start_pod("first")  # in the directory that the killed one left
    before = (await platform.run(run_id)).checkpoint_epoch
    await eventually(lambda: stored(before + 1), "it goes on", 120)
    os.kill(second.children()[0], signal.SIGKILL)

    async def third_attempt() -> bool:
        run = await platform.run(run_id)
        return run.job.attempt >= 3 and run.job.state == JobState.JOB_STATE_RUNNING

    await eventually(third_attempt, "its own attempt after the training process was killed", 120)
    reached = len(await platform.epochs(run_id))
    if reached < epochs - 1:
        await eventually(lambda: trained(reached + 1), "it goes on again", 120)
    second.process.terminate()
    assert await second.wait() == 0
    released = await platform.run(run_id)
    assert released.job.state in (JobState.JOB_STATE_QUEUED, JobState.JOB_STATE_SUCCEEDED)

    start_pod("third")
    events = await watch
    run = await platform.run(run_id)
    assert run.job.state == JobState.JOB_STATE_SUCCEEDED, run.job
    assert effective(events) == list(range(1, epochs + 1))
    assert await platform.epochs(run_id) == list(range(1, epochs + 1))
    resumed = [one.attempt_started.resume_epoch for one in events if one.WhichOneof("payload") == "attempt_started"]
    assert resumed[0] == 0
    assert resumed == sorted(resumed)
    assert resumed[1] >= 1


async def test_cancel(platform: Platform, start_pod: StartPod) -> None:
    pod = start_pod()
    run_id = await platform.train(200)

    async def one_epoch() -> list[int]:
        return await platform.epochs(run_id)

    await eventually(one_epoch, "the first epoch", 120)
    await platform.runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=run_id), metadata=platform.auth)
    events = await platform.events(run_id)
    run = await platform.run(run_id)
    assert run.job.state == JobState.JOB_STATE_CANCELLED, run.job
    timeline = effective(events)
    assert timeline == await platform.epochs(run_id)

    async def idle() -> bool:
        return not pod.children() and os.listdir(pod.directory / "jobs") == []

    await eventually(idle, "the pod is free again", 15)


@contextmanager
def store_stands_still(platform: Platform) -> Iterator[None]:
    """S3 neither answers nor refuses."""
    pid = platform.stack.pid("s3")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def kill(pod: PodProcess) -> None:
    pod.process.kill()
    await pod.wait()


async def test_killed_before_the_first_checkpoint_and_after_the_last_and_while_evaluating(
    platform: Platform, start_pod: StartPod
) -> None:
    """The edges of a job: an epoch that only the feed knows, a training that lacks only its results, an evaluation that
    is under way.
    """
    epochs = 2
    run_id = await platform.train(epochs)
    watch = asyncio.create_task(platform.events(run_id, 400))
    first = start_pod("pod")

    async def training() -> bool:
        return bool(first.children())

    async def one_epoch() -> bool:
        return await platform.epochs(run_id) != []

    await eventually(training, "the data is staged", 120)
    with store_stands_still(platform):
        await eventually(one_epoch, "an epoch without a checkpoint", 120)
        assert (await platform.run(run_id)).checkpoint_epoch == 0
        await kill(first)

    second = start_pod("pod")

    async def last_checkpoint() -> bool:
        return (await platform.run(run_id)).checkpoint_epoch == epochs

    async def all_done_but_the_uploads() -> bool:
        return second.children() == [] and await platform.epochs(run_id) == list(range(1, epochs + 1))

    await eventually(last_checkpoint, "the last checkpoint", 120)
    with store_stands_still(platform):
        await eventually(all_done_but_the_uploads, "only the results are missing", 120)
        assert (await platform.run(run_id)).job.state == JobState.JOB_STATE_RUNNING
        await kill(second)

    third = start_pod("pod")
    events = await watch
    run = await platform.run(run_id)
    assert (run.job.state, run.job.attempt) == (JobState.JOB_STATE_SUCCEEDED, 3), run.job
    assert effective(events) == [1, 2]
    assert [one.rolled_back.epoch for one in events if one.WhichOneof("payload") == "rolled_back"] == [0]
    assert [one.attempt_started.resume_epoch for one in events if one.WhichOneof("payload") == "attempt_started"] == [
        0,
        0,
        epochs,
    ]
    plots = await platform.metrics.ListPlots(
        metrics_service_pb2.ListPlotsRequest(run_id=run_id), metadata=platform.auth
    )
    assert "results.png" in {plot.name for plot in plots.plots}

    evaluation_id = await platform.evaluate(run_id)
    watch = asyncio.create_task(platform.events(evaluation_id))

    async def evaluating() -> bool:
        return bool(third.children())

    await eventually(evaluating, "the evaluation", 120)
    await kill(third)
    start_pod("pod")
    assert kinds(await watch).count("attempt_started") == 2
    found = await platform.evaluation(evaluation_id)
    assert (found.job.state, found.job.attempt) == (JobState.JOB_STATE_SUCCEEDED, 2)
    assert found.result.images > 0


async def test_cancel_while_staging_needs_no_store(platform: Platform, start_pod: StartPod) -> None:
    with store_stands_still(platform):
        start_pod()
        run_id = await platform.train(5)

        async def claimed() -> bool:
            return (await platform.run(run_id)).job.state == JobState.JOB_STATE_RUNNING

        await eventually(claimed, "the claim", 120)
        await platform.runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=run_id), metadata=platform.auth)
        events = await platform.events(run_id, 60)
    assert (await platform.run(run_id)).job.state == JobState.JOB_STATE_CANCELLED
    assert "epoch" not in kinds(events)


async def test_a_pod_that_was_overtaken_stops_and_writes_nothing(platform: Platform, start_pod: StartPod) -> None:
    frozen = start_pod("frozen")
    epochs = 6
    run_id = await platform.train(epochs)

    async def stored() -> bool:
        return (await platform.run(run_id)).checkpoint_epoch >= 1

    await eventually(stored, "the first checkpoint", 120)
    child = frozen.children()[0]
    for pid in (frozen.pid, child):
        os.kill(pid, signal.SIGSTOP)
    start_pod("other")

    async def overtaken() -> bool:
        return (await platform.run(run_id)).job.attempt == 2

    await eventually(overtaken, "another pod takes over", LEASE_SECONDS + 20)
    for pid in (child, frozen.pid):
        os.kill(pid, signal.SIGCONT)

    async def stopped() -> bool:
        return not alive(child) and "fenced" in frozen.output.read_text()

    await eventually(stopped, "the overtaken pod stops", 20)
    events = await platform.events(run_id)
    run = await platform.run(run_id)
    assert run.job.state == JobState.JOB_STATE_SUCCEEDED, run.job
    assert run.job.attempt == 2
    assert effective(events) == list(range(1, epochs + 1))


async def test_an_outage_of_everything_does_not_slow_the_training(platform: Platform, start_pod: StartPod) -> None:
    """NATS, S3, the trainer and the metrics service stand still for longer than a lease; the training goes on, and
    nothing is missing afterwards.
    """
    pod = start_pod()
    epochs = 12
    run_id = await platform.train(epochs)

    async def stored() -> bool:
        return (await platform.run(run_id)).checkpoint_epoch >= 1

    def spooled() -> int:
        return sum(
            isinstance(record, EpochRecord)
            for record in SpoolReader(pod.directory / "jobs" / run_id / "1" / "spool").read_new()
        )

    await eventually(stored, "the first checkpoint", 120)
    parts = [platform.stack.pid(name) for name in ("nats", "s3", "trainer", "metrics")]
    for pid in parts:
        os.kill(pid, signal.SIGSTOP)
    try:
        before, since = spooled(), asyncio.get_running_loop().time()

        async def trained_on() -> bool:
            return spooled() >= before + 3 and asyncio.get_running_loop().time() > since + LEASE_SECONDS + 1

        await eventually(trained_on, "three more epochs without any service", 60)
    finally:
        for pid in parts:
            os.kill(pid, signal.SIGCONT)
    events = await platform.events(run_id)
    run = await platform.run(run_id)
    assert run.job.state == JobState.JOB_STATE_SUCCEEDED, run.job
    assert run.job.attempt == 1
    assert effective(events) == list(range(1, epochs + 1))
    assert "rolled_back" not in kinds(events)


async def test_two_pods_do_not_share_a_directory(platform: Platform, start_pod: StartPod) -> None:
    first = start_pod()

    async def ready() -> bool:
        return "waiting for jobs" in first.output.read_text()

    await eventually(ready, "the first pod", 120)
    second = start_pod()
    assert await second.wait() == 1
    assert "belongs to another running pod" in second.output.read_text()


async def test_settings_are_named_all_at_once(start_pod: StartPod) -> None:
    pod = start_pod(SPLITRAIL_TRAINER_ADDRESS="", SPLITRAIL_DEVICE="tpu", SPLITRAIL_POLL_SECONDS="soon")
    assert await pod.wait() == 2
    text = pod.output.read_text()
    assert "SPLITRAIL_DEVICE" in text
    assert "SPLITRAIL_POLL_SECONDS" in text
