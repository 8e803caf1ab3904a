"""The main job's figures (`make bench-story`): the recipe over four seeds, fidelity, isolation of the test split,
latency, memory, wall times.

The wall times are those of `make demo-ci` in a fresh clone: cold (several GB of downloads, but for what pip has cached)
and again on what that left.
"""

import asyncio
import csv
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import psutil
from figures import Figures
from google.protobuf.timestamp_pb2 import Timestamp
from splitrail.events.v1 import event_pb2
from splitrail.internal.events.v1 import run_event_pb2
from splitrail.internal.metrics.v1 import watermark_service_pb2, watermark_service_pb2_grpc
from splitrail.internal.trainer.v1 import job_service_pb2, job_service_pb2_grpc
from splitrail.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from splitrail_common.concurrency import beside, together
from splitrail_common.messaging import connect
from splitrail_common.peers import bearer
from splitrail_common.publisher import FeedPublisher
from splitrail_local.recipe import MODEL, SHAPES
from splitrail_local.shapes import generate
from splitrail_local.stack import PARTS
from splitrail_local.testing import RunningStack, running_stack
from splitrail_metrics.catalogue import describe

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1, 2, 3)
EVENTS = 400
EVENT_INTERVAL_SECONDS = 0.02
CALL_SECONDS = 10.0
PUBLISH_SECONDS = 120.0
RUN_SECONDS = 1800.0
"""Deadlines, far beyond what each takes: one that passes ends the benchmark instead of leaving it to hang."""


class Folders:
    """What `running_stack` needs of pytest's factory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def mktemp(self, basename: str, numbered: bool = True) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(prefix=basename, dir=self._root))


class Memory:
    """Peak resident memory of each part, in MiB, sampled every half second; the training process is listed apart from
    its supervisor.
    """

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        self.peak: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.5):
            for part, state in self._stack.stack.status().items():
                try:
                    process = psutil.Process(state.pid)
                    children = process.children(recursive=True)
                    self._note(
                        part,
                        process.memory_info().rss
                        + (0 if part == "pod" else sum(child.memory_info().rss for child in children)),
                    )
                    if part == "pod":
                        self._note("training process", sum(child.memory_info().rss for child in children))
                except psutil.NoSuchProcess:
                    continue  # it ended between two looks

    def _note(self, name: str, size: int) -> None:
        self.peak[name] = max(self.peak.get(name, 0.0), size / 2**20)


def command(stack: RunningStack, *arguments: str) -> dict[str, object]:
    """Runs `splitrail ... -o json`."""
    environment = {**os.environ, "SPLITRAIL_URL": stack.gateway_url, "SPLITRAIL_TOKEN": stack.admin_token}
    program = str(Path(sys.executable).parent / "splitrail")
    words = [program, *arguments, "-o", "json"]
    done = subprocess.run(
        words, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=RUN_SECONDS
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def largest_difference(api: httpx.Client, run_id: str) -> tuple[int, float]:
    """Epochs of the run, and the largest difference between a normalized value and its results.csv, in units of the
    last printed digit.
    """
    artifacts = api.get(f"/api/runs/{run_id}/artifacts").raise_for_status().json()["artifacts"]
    (url,) = [item["url"] for item in artifacts if item["kind"] == "ARTIFACT_KIND_RESULTS"]
    rows = list(csv.DictReader(io.StringIO(httpx.get(url).raise_for_status().text)))
    epochs = api.get(f"/api/runs/{run_id}/metrics").raise_for_status().json()["epochs"]
    worst = 0.0
    for row, epoch in zip(rows, epochs, strict=True):
        for raw, text in row.items():
            if raw in ("epoch", "time"):
                continue
            known = describe(raw)
            assert known is not None, f"{raw} has no canonical name"
            value, shown = float(epoch["metrics"][known.key]), float(text)
            mantissa, _, exponent = text.lower().partition("e")
            unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
            same = value == shown or (math.isnan(value) and math.isnan(shown))
            worst = max(worst, 0.0 if same else abs(value - shown) / unit)
    return len(epochs), worst


def test_images_fetched(stack: RunningStack, api: httpx.Client, run: dict[str, str]) -> int:
    """Images of the test split that anybody has fetched from S3 with a signed URL so far."""
    path = f"/api/datasets/{run['datasetId']}/versions/{run['versionId']}/assets"
    answer = (
        api.get(path, params={"split": "test", "split_id": run["splitId"], "page_size": 1000}).raise_for_status().json()
    )
    test = {asset["sha256"] for asset in answer["assets"]}
    records = [
        json.loads(line) for line in stack.log("s3log").rpartition("\n")[0].splitlines()
    ]  # the last line may be half written
    return sum(
        record["operation"] == "REST.GET.OBJECT" and record["requester"] == "reader" and record["key"][-64:] in test
        for record in records
    )


def recipe(stack: RunningStack, figures: Figures, work: Path) -> None:
    """Trains and evaluates the demo's recipe for each seed; every seed has a dataset, split and training of its own."""
    with httpx.Client(
        base_url=stack.gateway_url, headers={"authorization": f"Bearer {stack.admin_token}"}, timeout=60
    ) as api:
        for seed in SEEDS:
            generate(work / f"shapes{seed}", seed=seed)
            command(stack, "dataset", "import", str(work / f"shapes{seed}"), "--name", f"shapes{seed}")
            command(
                stack,
                "split",
                "create",
                f"shapes{seed}@v1",
                "--ratios",
                "0.7,0.15,0.15",
                "--seed",
                str(seed),
                "--stratify",
            )
            arguments = [f"{key}={value}" for key, value in {**SHAPES, "seed": seed}.items()]
            started = command(stack, "train", f"data=shapes{seed}@v1", f"model={MODEL}", *arguments, "--detach")
            for _ in watch(stack, str(started["runId"]), RUN_SECONDS):
                pass
            run = api.get(f"/api/runs/{started['runId']}").raise_for_status().json()["run"]
            figures.show(
                f"seed {seed}: test images fetched before the evaluation",
                test_images_fetched(stack, api, run),
                goal=("=", 0),
            )
            epochs, difference = largest_difference(api, run["runId"])
            figures.show(f"seed {seed}: epochs in the feed", epochs, goal=("=", float(SHAPES["epochs"])))
            figures.show(
                f"seed {seed}: normalized v results.csv, last digits apart", difference, goal=("<=", 0.5000001)
            )
            evaluation = command(stack, "eval", "run", run["reference"], "--split", "test")
            result = evaluation["result"]
            assert isinstance(result, dict)
            figures.show(f"seed {seed}: test mAP50", result["overall"]["mAP50"], goal=(">", 0.5))


def watch(
    stack: RunningStack, run_id: str, seconds: float
) -> Iterator[tuple[float, metrics_service_pb2.WatchRunResponse]]:
    """Messages of a watch through the gateway, each with the time of its arrival; DEADLINE_EXCEEDED when it has not
    ended within `seconds`.
    """
    with grpc.insecure_channel(stack.gateway_url.removeprefix("http://")) as channel:
        stub = metrics_service_pb2_grpc.MetricsServiceStub(channel)
        request = metrics_service_pb2.WatchRunRequest(run_id=run_id)
        for message in stub.WatchRun(request, metadata=bearer(stack.admin_token), timeout=seconds):
            yield time.time(), message


class Ticks:
    """An event source that grows: what a pod's log is to its publisher."""

    def __init__(self, job_id: str, project_id: str, attempt: int) -> None:
        self._header = {"job_id": job_id, "project_id": project_id, "attempt": attempt}
        self.events: list[run_event_pb2.RunEvent] = []

    async def read(self, after: int, limit: int) -> list[run_event_pb2.RunEvent]:
        """See EventSource."""
        return self.events[after : after + limit]

    def add(self, **payload: object) -> None:
        """Appends an event that carries the time of now."""
        stamp = Timestamp()
        stamp.GetCurrentTime()
        self.events.append(
            run_event_pb2.RunEvent(number=len(self.events) + 1, event_time=stamp, **self._header, **payload)
        )  # type: ignore[arg-type]


async def publish(stack: RunningStack) -> list[float]:
    """Takes a job as a pod would, publishes epochs at a steady pace, and returns the seconds from each publish to its
    arrival at a client.
    """
    environment = stack.environment("pod")
    async with (
        grpc.aio.insecure_channel(environment["SPLITRAIL_TRAINER_ADDRESS"]) as trainer,
        grpc.aio.insecure_channel(environment["SPLITRAIL_METRICS_ADDRESS"]) as metrics,
    ):
        jobs = job_service_pb2_grpc.JobServiceStub(trainer)
        request = job_service_pb2.ClaimJobRequest(worker="bench", queue="bench")
        job = (await jobs.ClaimJob(request, metadata=bearer(stack.worker_token), timeout=CALL_SECONDS)).job
        nats = await connect(stack.pod_nats_url, name="bench", deadline_seconds=10, inbox_prefix="_INBOX_pod")
        feed = watermark_service_pb2_grpc.WatermarkServiceStub(metrics)
        source = Ticks(job.job_id, job.project_id, job.attempt)

        async def watermark() -> watermark_service_pb2.GetWatermarkResponse:
            request = watermark_service_pb2.GetWatermarkRequest(job_id=job.job_id, attempt=job.attempt)
            return await feed.GetWatermark(request, metadata=bearer(job.attempt_token), timeout=CALL_SECONDS)

        publisher = FeedPublisher(
            nats.jetstream(), watermark, source, lambda: job.attempt_token, job_id=job.job_id, attempt=job.attempt
        )
        watching = threading.Event()

        async def epochs() -> list[float]:
            assert await asyncio.to_thread(watching.wait, CALL_SECONDS), "the watch shows nothing"
            for epoch in range(1, EVENTS + 1):
                values = {f"metrics/m{index}": epoch / (index + 1) for index in range(20)}
                source.add(epoch=run_event_pb2.EpochCompleted(epoch=epoch, epochs=EVENTS, values=values))
                publisher.wake()
                await asyncio.sleep(EVENT_INTERVAL_SECONDS)
            await publisher.wait_committed(EVENTS + 1)
            return []

        async def measured() -> list[float]:
            async with asyncio.timeout(PUBLISH_SECONDS):
                source.add(attempt_started=event_pb2.AttemptStarted(worker="bench"))
                publisher.wake()
                await publisher.wait_committed(1)
                found, _ = await together(asyncio.to_thread(arrivals, stack, job.job_id, watching), epochs())
                return found

        try:
            found = await beside(measured(), publisher.run())
        finally:
            await nats.close()
        await jobs.FailJob(
            job_service_pb2.FailJobRequest(
                job_id=job.job_id, cause=event_pb2.FAILURE_CAUSE_DATA, message="the benchmark has ended"
            ),
            metadata=bearer(job.attempt_token),
            timeout=CALL_SECONDS,
        )
        return found


def arrivals(stack: RunningStack, job_id: str, watching: threading.Event) -> list[float]:
    """Seconds from an epoch's publish to its arrival here, for each of them; sets `watching` once messages come."""
    delays = []
    for arrived, message in watch(stack, job_id, PUBLISH_SECONDS):
        watching.set()
        if message.event.HasField("epoch"):
            delays.append(arrived - message.event.event_time.ToNanoseconds() / 1e9)
            if len(delays) == EVENTS:
                break
    return delays


def wall_times(figures: Figures, work: Path) -> None:
    """Times `make demo-ci` in a fresh clone with nothing installed, and once more there."""
    clone = work / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPLITRAIL_")} | {
        "SPLITRAIL_PORT": "0"
    }
    log = work / "demo.log"
    try:
        for name in (
            "cold: make demo-ci, fresh clone, nothing installed",
            "warm: make demo-ci again, on its kept state",
        ):
            started = time.monotonic()
            with log.open("w") as output:
                done = subprocess.run(
                    ["make", "demo-ci"],
                    cwd=clone,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
            if done.returncode != 0:
                raise RuntimeError(
                    f"{name}: exit code {done.returncode}; its last lines:\n"
                    + "\n".join(log.read_text().splitlines()[-30:])
                )
            figures.show(name, time.monotonic() - started, "s")
    finally:
        # The state may own folders outside the clone; without a virtual environment there is none, and make says so.
        subprocess.run(["make", "clean-state"], cwd=clone, env=environment, capture_output=True, check=False)


def main() -> int:
    """Runs everything; returns the exit code."""
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="splitrail-bench-") as name:
        work = Path(name)
        with running_stack(Folders(work), only=None) as stack, Memory(stack) as memory:
            recipe(stack, figures, work)
            command(stack, "train", "data=shapes0@v1", f"model={MODEL}", "epochs=1", "--queue", "bench", "--detach")
            delays = asyncio.run(publish(stack))
            cuts = statistics.quantiles(delays, n=100)
            figures.show(f"publish -> seen through the gateway, p50 of {EVENTS}", cuts[49] * 1000, "ms")
            figures.show(f"publish -> seen through the gateway, p99 of {EVENTS}", cuts[98] * 1000, "ms")
        for part in [*PARTS, "training process"]:
            if part in memory.peak:
                figures.show(f"peak memory of {part}", memory.peak[part], "MiB")
        wall_times(figures, work)
    return figures.exit_code()


if __name__ == "__main__":
    sys.exit(main())
