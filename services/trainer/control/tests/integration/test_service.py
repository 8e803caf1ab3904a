"""The whole service as a process, beside the real split and metrics services."""

import asyncio
import hashlib
import os
import signal
import urllib.request

import grpc
import psycopg
import pytest
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from splitrail.errors.v1 import error_reason_pb2
from splitrail.events.v1 import event_pb2
from splitrail.internal.split.v1 import staging_service_pb2
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail.metrics.v1 import metrics_service_pb2
from splitrail.split.v1 import dataset_pb2, project_service_pb2, split_service_pb2
from splitrail.trainer.v1 import evaluation_pb2, evaluation_service_pb2, job_pb2, run_service_pb2
from splitrail_common.ids import new_id
from splitrail_local.testing import eventually

pytestmark = pytest.mark.integration
ARGUMENTS = {
    "epochs": struct_pb2.Value(number_value=3),
    "imgsz": struct_pb2.Value(number_value=64),
    "mosaic": struct_pb2.Value(number_value=0),
}


class Refused(Exception):
    """What the service answered."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(error.details())
        self.code = error.code()
        self.fields: list[str] = []
        self.reason = ""
        self.metadata: dict[str, str] = {}
        for detail in rpc_status.from_call(error).details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                self.fields = [item.field for item in bad.field_violations]


def put(url: str, data: bytes) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, data, method="PUT"), timeout=20) as response:
        assert response.status == 200


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as response:
        return response.read()


async def refused(call) -> Refused:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    found = Refused(error.value)
    assert error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{found.reason}")
    return found


def create(data: str = "", **fields) -> run_service_pb2.CreateRunRequest:
    return run_service_pb2.CreateRunRequest(
        **{"data": data, "model": "yolov8n", "arguments": ARGUMENTS, "queue": f"q{new_id()[-8:]}"} | fields
    )


async def claim(wire, run) -> job_service_pb2.ClaimedJob:
    request = job_service_pb2.ClaimJobRequest(worker="tester", queue=run.job.queue)
    return (await wire.jobs.ClaimJob(request, **wire.worker())).job


async def leave(wire, job, name: str, kind: int, content: bytes, *, epoch: int = 0) -> None:
    options = wire.attempt(job.attempt_token)
    target = (
        await wire.jobs.CreateUploads(job_service_pb2.CreateUploadsRequest(job_id=job.job_id, names=[name]), **options)
    ).targets[0]
    await asyncio.to_thread(put, target.url, content)
    request = job_service_pb2.CommitArtifactRequest(
        job_id=job.job_id,
        name=name,
        kind=kind,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        epoch=epoch,
    )
    await wire.jobs.CommitArtifact(request, **options)


async def finished(wire, data, **fields):
    """A run that has succeeded, with best weights."""
    run = (await wire.runs.CreateRun(create(data.reference, **fields), **wire.user())).run
    job = await claim(wire, run)
    await leave(wire, job, "best.pt", job_pb2.ARTIFACT_KIND_BEST_WEIGHTS, b"weights")
    request = job_service_pb2.CompleteJobRequest(job_id=job.job_id, versions={"torch": "2.15.0"})
    await wire.jobs.CompleteJob(request, **wire.attempt(job.attempt_token))
    return (await wire.runs.GetRun(run_service_pb2.GetRunRequest(run_id=run.run_id), **wire.user())).run


async def test_a_run_from_request_to_result(wire, data):
    request = create(data.name, external_id="mlops-7", labels={"team": "vision"}, request_id=new_id())
    made = await wire.runs.CreateRun(request, **wire.user())
    run = made.run
    assert (run.number, run.reference, run.split_id, run.split_reference) == (
        1,
        f"{data.name}/1",
        data.split_id,
        f"{data.name}@v1#1",
    )
    assert (run.job.state, run.job.queue_position, run.epochs, run.external_id, dict(run.labels)) == (
        1,
        0,
        3,
        "mlops-7",
        {"team": "vision"},
    )
    assert set(run.arguments) == {"epochs", "imgsz", "mosaic"}
    assert run.resolved_arguments["close_mosaic"].number_value == 0
    assert list(run.class_names) == ["circle", "square", "triangle", "star"]
    assert len(run.split_digest) == 64
    assert (await wire.runs.CreateRun(request, **wire.user())).run.run_id == run.run_id, "the same request_id"
    assert (await wire.runs.CreateRun(create(data.reference), **wire.user())).run.reference == f"{data.name}/2"

    job = await claim(wire, run)
    assert (job.job_id, job.attempt, job.train.split_id, job.train.model) == (run.run_id, 1, data.split_id, "yolov8n")
    assert job.lease_duration.seconds == 3
    assert not job.train.HasField("resume")
    manifest = staging_service_pb2.StreamManifestRequest(
        split_id=data.split_id, parts=[dataset_pb2.PART_TRAIN, dataset_pb2.PART_VAL]
    )
    async for answer in wire.staging.StreamManifest(manifest, **wire.attempt(job.attempt_token)):
        assert all(entry.part != dataset_pb2.PART_TEST for entry in answer.entries)
    forbidden = staging_service_pb2.StreamManifestRequest(split_id=data.split_id, parts=[dataset_pb2.PART_TEST])
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await wire.staging.StreamManifest(forbidden, **wire.attempt(job.attempt_token)).read()
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED

    await leave(wire, job, "epoch-1.ckpt", job_pb2.ARTIFACT_KIND_CHECKPOINT, b"ckpt", epoch=1)
    await leave(wire, job, "best.pt", job_pb2.ARTIFACT_KIND_BEST_WEIGHTS, b"weights")
    options = wire.attempt(job.attempt_token)
    await wire.jobs.ReleaseJob(job_service_pb2.ReleaseJobRequest(job_id=job.job_id), **options)
    again = await claim(wire, run)
    assert (again.attempt, again.train.resume.epoch, again.train.resume.size_bytes) == (2, 1, 4)
    assert await asyncio.to_thread(get, again.train.resume.url) == b"ckpt"
    fenced = await refused(wire.jobs.Heartbeat(job_service_pb2.HeartbeatRequest(job_id=job.job_id), **options))
    assert (fenced.code, fenced.reason) == (grpc.StatusCode.ABORTED, "ATTEMPT_FENCED")
    await wire.jobs.CompleteJob(
        job_service_pb2.CompleteJobRequest(job_id=job.job_id, versions={"torch": "2.15.0"}),
        **wire.attempt(again.attempt_token),
    )

    found = (await wire.runs.ResolveRun(run_service_pb2.ResolveRunRequest(reference=run.reference), **wire.user())).run
    assert (found.run_id, found.job.state, found.checkpoint_epoch, dict(found.versions)) == (
        run.run_id,
        3,
        1,
        {"torch": "2.15.0"},
    )
    files = (
        await wire.runs.ListArtifacts(run_service_pb2.ListArtifactsRequest(run_id=run.run_id), **wire.user())
    ).artifacts
    assert [(item.name, item.attempt) for item in files] == [("epoch-1.ckpt", 1), ("best.pt", 1)]
    assert await asyncio.to_thread(get, files[1].url) == b"weights"
    ended = await refused(wire.runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=run.run_id), **wire.user()))
    assert (ended.code, ended.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_ENDED")


async def feed(wire, job_id: str) -> list[event_pb2.StateChanged]:
    """The state events of a closed feed, as a watcher sees them."""
    states = []
    async for answer in wire.metrics.WatchRun(metrics_service_pb2.WatchRunRequest(run_id=job_id), **wire.user()):
        if answer.HasField("closed"):
            return states
        if answer.HasField("event") and answer.event.WhichOneof("payload") == "state":
            states.append(answer.event.state)
    raise AssertionError("the watch ended without `closed`")


async def test_states_reach_the_feed_and_the_last_one_closes_it(wire, data):
    run = await finished(wire, data)
    states = await asyncio.wait_for(feed(wire, run.run_id), 30)
    assert [item.state for item in states] == [1, 2, 3]
    assert [item.attempt for item in states] == [0, 1, 1]


async def test_the_outbox_survives_the_kill_of_the_service(wire, data, services):
    run = (await wire.runs.CreateRun(create(data.reference), **wire.user())).run
    killed = services.pid("trainer")
    os.kill(services.pid("metrics"), signal.SIGSTOP)  # nothing is committed from now on
    try:
        await wire.runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=run.run_id), **wire.user())
        os.kill(killed, signal.SIGKILL)
    finally:
        os.kill(services.pid("metrics"), signal.SIGCONT)

    async def restarted():
        return services.pid("trainer") not in {0, killed} and await asyncio.to_thread(
            services.stack.is_ready, "trainer"
        )

    await eventually(restarted, "the service runs again", 60)
    states = await asyncio.wait_for(feed(wire, run.run_id), 60)
    assert [item.state for item in states] == [1, 5]


async def test_a_lost_pod_shows_and_the_job_goes_to_the_next(wire, data):
    run = (await wire.runs.CreateRun(create(data.reference), **wire.user())).run
    first = await claim(wire, run)

    async def second():
        job = await claim(wire, run)
        return job if job.job_id else None

    job = await eventually(second, "the lost lease has run out", 20)
    assert (job.job_id, job.attempt) == (run.run_id, 2)
    late = await refused(
        wire.jobs.FailJob(job_service_pb2.FailJobRequest(job_id=run.run_id), **wire.attempt(first.attempt_token))
    )
    assert late.reason == "ATTEMPT_FENCED"
    found = (await wire.runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=run.run_id), **wire.user())).run
    assert (found.job.cancel_requested, found.job.failures, found.job.cause) == (
        True,
        1,
        event_pb2.FAILURE_CAUSE_LOST_POD,
    )
    orders = await wire.jobs.Heartbeat(
        job_service_pb2.HeartbeatRequest(job_id=run.run_id), **wire.attempt(job.attempt_token)
    )
    assert orders.cancel
    await wire.jobs.ReleaseJob(job_service_pb2.ReleaseJobRequest(job_id=run.run_id), **wire.attempt(job.attempt_token))
    again = (await wire.runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=run.run_id), **wire.user())).run
    assert again.job.state == event_pb2.JOB_STATE_CANCELLED, "repeating it is harmless"


async def test_bad_requests_are_named(wire, data):
    answer = await refused(
        wire.runs.CreateRun(create("", model="x", arguments={"epoch": struct_pb2.Value(number_value=1)}), **wire.user())
    )
    assert (answer.code, sorted(answer.fields)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        ["arguments.epoch", "data", "model"],
    )
    nowhere = await refused(wire.runs.CreateRun(create("no-such-set"), **wire.user()))
    assert nowhere.code is grpc.StatusCode.NOT_FOUND
    wrong = await refused(wire.runs.CreateRun(create("///"), **wire.user()))
    assert (wrong.code, wrong.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["data"])
    missing = await refused(wire.runs.CreateRun(create(split_id=new_id()), **wire.user()))
    assert missing.code is grpc.StatusCode.NOT_FOUND
    for call in (
        wire.runs.GetRun(run_service_pb2.GetRunRequest(run_id="cells/1"), **wire.user()),
        wire.runs.ListRuns(run_service_pb2.ListRunsRequest(page_token="x"), **wire.user()),
        wire.runs.ListRuns(run_service_pb2.ListRunsRequest(page_size=-1), **wire.user()),
        wire.runs.ListRuns(run_service_pb2.ListRunsRequest(state=99), **wire.user()),
        wire.runs.GetTrainingSchema(
            run_service_pb2.GetTrainingSchemaRequest(task=dataset_pb2.TASK_POSE), **wire.user()
        ),
    ):
        assert (await refused(call)).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_data_that_cannot_be_trained_on(wire, tmp_path, load_dataset, make_split):
    dataset_id, version_id = await load_dataset(tmp_path / "bare", name := f"bare-{new_id()[-8:]}")
    bare = await refused(wire.runs.CreateRun(create(name), **wire.user()))
    assert (bare.code, bare.reason, bare.fields) == (grpc.StatusCode.FAILED_PRECONDITION, "SPLIT_MISSING", ["data"])
    no_val = await make_split(dataset_id, version_id, (0.8, 0.0, 0.2))
    empty = await refused(wire.runs.CreateRun(create(split_id=no_val.split_id), **wire.user()))
    assert (empty.reason, empty.fields, empty.metadata) == ("SPLIT_EMPTY", ["split_id"], {"part": "val"})


async def test_data_of_another_task_is_refused_before_a_pod_sees_it(wire, tmp_path, load_dataset, make_split):
    dataset_id, version_id = await load_dataset(
        tmp_path / "outlines", name := f"outlines-{new_id()[-8:]}", task=dataset_pb2.TASK_SEGMENT
    )
    revision = await make_split(dataset_id, version_id, (0.6, 0.2, 0.2))
    for wish, field in ((create(name), "data"), (create(split_id=revision.split_id), "split_id")):
        found = await refused(wire.runs.CreateRun(wish, **wire.user()))
        assert (found.code, found.reason, found.fields) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "TASK_UNSUPPORTED",
            [field],
        )
        assert found.metadata == {"task": "TASK_SEGMENT"}


async def test_projects_are_invisible_to_each_other(wire, data):
    run = (await wire.runs.CreateRun(create(data.reference), **wire.user())).run
    stranger = wire.user({"acme": "admin"})
    for call in (
        wire.runs.GetRun(run_service_pb2.GetRunRequest(run_id=run.run_id), **stranger),
        wire.runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=run.run_id), **stranger),
        wire.runs.ListArtifacts(run_service_pb2.ListArtifactsRequest(run_id=run.run_id), **stranger),
        wire.runs.ListRuns(run_service_pb2.ListRunsRequest(project_id="default"), **stranger),
        wire.runs.ResolveRun(run_service_pb2.ResolveRunRequest(reference=run.reference), **stranger),
        wire.runs.CreateRun(create(data.reference), **stranger),
        wire.evaluations.CreateEvaluation(
            evaluation_service_pb2.CreateEvaluationRequest(run_id=run.run_id), **stranger
        ),
        wire.evaluations.ListEvaluations(evaluation_service_pb2.ListEvaluationsRequest(run_id=run.run_id), **stranger),
        wire.runs.CreateRun(create(split_id=data.split_id, project_id="acme"), **stranger),
    ):
        assert (await refused(call)).code is grpc.StatusCode.NOT_FOUND
    assert (await wire.runs.ListRuns(run_service_pb2.ListRunsRequest(), **stranger)).runs == []
    viewer = wire.user({"default": "viewer"})
    assert (await wire.runs.GetRun(run_service_pb2.GetRunRequest(run_id=run.run_id), **viewer)).run.run_id == run.run_id
    denied = await refused(wire.runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=run.run_id), **viewer))
    assert denied.code is grpc.StatusCode.PERMISSION_DENIED
    for call in (
        wire.jobs.ClaimJob(job_service_pb2.ClaimJobRequest(), **wire.user()),
        wire.jobs.Heartbeat(job_service_pb2.HeartbeatRequest(job_id=run.run_id), **wire.worker()),
    ):
        assert (await refused(call)).code is grpc.StatusCode.PERMISSION_DENIED


async def test_an_external_id_names_one_run_of_a_project(wire, data):
    external_id = new_id()
    request = create(data.reference, external_id=external_id, request_id=new_id())
    run = (await wire.runs.CreateRun(request, **wire.user())).run
    assert (await wire.runs.CreateRun(request, **wire.user())).run.run_id == run.run_id, "a repetition is no second run"
    taken = await refused(wire.runs.CreateRun(create(data.reference, external_id=external_id), **wire.user()))
    assert (taken.code, taken.reason, taken.fields) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "ALREADY_EXISTS",
        ["external_id"],
    )
    assert taken.metadata == {"type": "run", "name": external_id}
    listed = await wire.runs.ListRuns(run_service_pb2.ListRunsRequest(external_id=external_id), **wire.user())
    assert [item.run_id for item in listed.runs] == [run.run_id]


async def test_nothing_is_queued_in_an_archived_project(wire, tmp_path, load_dataset, make_split, services):
    project_id, admin = f"p{new_id()[-8:]}", wire.user({"*": "admin"})
    await wire.projects.CreateProject(project_service_pb2.CreateProjectRequest(project_id=project_id), **admin)
    dataset_id, version_id = await load_dataset(tmp_path / "shapes", "cells", project_id=project_id)
    revision = await make_split(dataset_id, version_id, (0.6, 0.2, 0.2))
    run = await finished(wire, revision, project_id=project_id)
    await wire.projects.ArchiveProject(project_service_pb2.ArchiveProjectRequest(project_id=project_id), **admin)
    before = await pins(services, revision.split_id)
    for call in (
        wire.runs.CreateRun(create("cells", project_id=project_id), **wire.user()),
        wire.evaluations.CreateEvaluation(
            evaluation_service_pb2.CreateEvaluationRequest(run_id=run.run_id), **wire.user()
        ),
    ):
        archived = await refused(call)
        assert (archived.code, archived.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROJECT_ARCHIVED")
    assert await pins(services, revision.split_id) == before
    listed = await wire.runs.ListRuns(run_service_pb2.ListRunsRequest(project_id=project_id), **wire.user())
    assert [item.run_id for item in listed.runs] == [run.run_id], "what is there can be read, and nothing was added"


async def test_runs_are_listed_newest_first_in_pages(wire, data):
    made = [(await wire.runs.CreateRun(create(data.reference), **wire.user())).run.run_id for _ in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        request = run_service_pb2.ListRunsRequest(
            project_id="default", dataset_id=data.dataset_id, page_size=2, page_token=token
        )
        answer = await wire.runs.ListRuns(request, **wire.user())
        seen += [run.run_id for run in answer.runs]
        token = answer.next_page_token
        if not token:
            break
    assert seen == made[::-1]
    await wire.runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=made[0]), **wire.user())
    request = run_service_pb2.ListRunsRequest(dataset_id=data.dataset_id, state=event_pb2.JOB_STATE_CANCELLED)
    assert [run.run_id for run in (await wire.runs.ListRuns(request, **wire.user())).runs] == [made[0]]


async def test_the_schema_holds_every_hyperparameter(wire):
    answer = await wire.runs.GetTrainingSchema(run_service_pb2.GetTrainingSchemaRequest(), **wire.user())
    found = {item.name: item for item in answer.arguments}
    assert (found["epochs"].minimum, found["epochs"].maximum, found["epochs"].default_value.number_value) == (
        1,
        1000,
        100,
    )
    assert found["imgsz"].multiple_of == 32
    assert "AdamW" in found["optimizer"].choices
    assert list(dict.fromkeys(item.group for item in answer.arguments)) == [1, 2, 3, 4], "in the order of a form"
    assert "yolo26x" in answer.models
    assert answer.ultralytics_version


async def test_an_evaluation_of_held_out_images(wire, data):
    unfinished = (await wire.runs.CreateRun(create(data.reference), **wire.user())).run
    early = await refused(
        wire.evaluations.CreateEvaluation(
            evaluation_service_pb2.CreateEvaluationRequest(run_id=unfinished.run_id), **wire.user()
        )
    )
    assert (early.code, early.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RUN_UNFINISHED")
    job = await claim(wire, unfinished)
    await leave(wire, job, "best.pt", job_pb2.ARTIFACT_KIND_BEST_WEIGHTS, b"of an attempt that may yet fail")
    early = await refused(
        wire.evaluations.CreateEvaluation(
            evaluation_service_pb2.CreateEvaluationRequest(run_id=unfinished.run_id), **wire.user()
        )
    )
    assert (early.reason, early.fields) == ("RUN_UNFINISHED", ["run_id"])
    run = await finished(wire, data)
    request = evaluation_service_pb2.CreateEvaluationRequest(run_id=run.run_id, request_id=new_id())
    made = (await wire.evaluations.CreateEvaluation(request, **wire.user())).evaluation
    assert (made.part, made.number, made.contaminated_images, made.split_id) == (
        dataset_pb2.PART_TEST,
        1,
        0,
        data.split_id,
    )
    assert made.arguments["imgsz"].number_value == 64
    assert (
        await wire.evaluations.CreateEvaluation(request, **wire.user())
    ).evaluation.evaluation_id == made.evaluation_id
    job = await claim(wire, run)
    assert (job.job_id, job.evaluate.part, job.evaluate.weights_size_bytes) == (
        made.evaluation_id,
        dataset_pb2.PART_TEST,
        7,
    )
    assert await asyncio.to_thread(get, job.evaluate.weights_url) == b"weights"
    options = wire.attempt(job.attempt_token)
    train = staging_service_pb2.StreamManifestRequest(split_id=data.split_id, parts=[dataset_pb2.PART_TRAIN])
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await wire.staging.StreamManifest(train, **options).read()
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    without = await refused(wire.jobs.CompleteJob(job_service_pb2.CompleteJobRequest(job_id=job.job_id), **options))
    assert without.fields == ["evaluation"]
    result = evaluation_pb2.EvaluationResult(part=dataset_pb2.PART_TEST, images=4, overall={"mAP50": 0.9})
    await wire.jobs.CompleteJob(job_service_pb2.CompleteJobRequest(job_id=job.job_id, evaluation=result), **options)
    found = (
        await wire.evaluations.GetEvaluation(
            evaluation_service_pb2.GetEvaluationRequest(evaluation_id=made.evaluation_id), **wire.user()
        )
    ).evaluation
    assert (found.job.state, found.result) == (event_pb2.JOB_STATE_SUCCEEDED, result)
    listed = await wire.evaluations.ListEvaluations(
        evaluation_service_pb2.ListEvaluationsRequest(run_id=run.run_id), **wire.user()
    )
    assert [item.evaluation_id for item in listed.evaluations] == [made.evaluation_id]


async def test_large_results_come_in_pages_that_fit_into_a_message(wire, data):
    run = await finished(wire, data)
    large = evaluation_pb2.EvaluationResult(
        part=dataset_pb2.PART_TEST,
        confusion_matrix=evaluation_pb2.ConfusionMatrix(class_names=["a"] * 300, counts=[1.0] * 301**2),
    )
    made = []
    for _ in range(12):
        request = evaluation_service_pb2.CreateEvaluationRequest(run_id=run.run_id)
        made.append((await wire.evaluations.CreateEvaluation(request, **wire.user())).evaluation.evaluation_id)
        job = await claim(wire, run)
        await wire.jobs.CompleteJob(
            job_service_pb2.CompleteJobRequest(job_id=job.job_id, evaluation=large), **wire.attempt(job.attempt_token)
        )
    seen: list[str] = []
    token, pages = "", 0
    while token or not pages:
        answer = await wire.evaluations.ListEvaluations(
            evaluation_service_pb2.ListEvaluationsRequest(run_id=run.run_id, page_token=token), **wire.user()
        )
        seen += [item.evaluation_id for item in answer.evaluations]
        token, pages = answer.next_page_token, pages + 1
    assert (seen, pages) == (made[::-1], 3)


async def test_what_was_trained_on_is_no_test(wire, data, make_split):
    run = await finished(wire, data)

    async def ask(**fields):
        return await wire.evaluations.CreateEvaluation(
            evaluation_service_pb2.CreateEvaluationRequest(run_id=run.run_id, **fields), **wire.user()
        )

    for part in (dataset_pb2.PART_TRAIN, dataset_pb2.PART_VAL):
        seen = await refused(ask(part=part))
        assert (seen.code, seen.reason, seen.fields) == (grpc.StatusCode.FAILED_PRECONDITION, "CONTAMINATED", ["part"])
    other = await make_split(data.dataset_id, data.version_id, (0.4, 0.3, 0.3), seed=7)
    seen = await refused(ask(split_id=other.split_id))
    assert seen.reason == "CONTAMINATED"
    forced = (await ask(split_id=other.split_id, force=True)).evaluation
    assert forced.contaminated_images == int(seen.metadata["overlap"]) > 0
    stopped = (
        await wire.evaluations.CancelEvaluation(
            evaluation_service_pb2.CancelEvaluationRequest(evaluation_id=forced.evaluation_id), **wire.user()
        )
    ).evaluation
    assert stopped.job.state == event_pb2.JOB_STATE_CANCELLED
    wrong = await refused(
        ask(arguments={"conf": struct_pb2.Value(number_value=2), "half": struct_pb2.Value(bool_value=True)})
    )
    assert sorted(wrong.fields) == ["arguments.conf", "arguments.half"]
    no_test = await make_split(data.dataset_id, data.version_id, (0.8, 0.2, 0.0))
    assert (await refused(ask(split_id=no_test.split_id))).reason == "SPLIT_EMPTY"
    delete = split_service_pb2.DeleteSplitRequest(split_id=data.split_id)
    pinned = await refused(wire.splits.DeleteSplit(delete, **wire.user({"*": "admin"})))
    assert pinned.reason == "PINNED"


async def pins(services, split_id: str) -> list[str]:
    """The jobs for which the split service keeps a revision."""
    async with await psycopg.AsyncConnection.connect(services.dsn("split")) as connection:
        cursor = await connection.execute("SELECT job_id::text FROM split_pin WHERE split_id = %s", (split_id,))
        return sorted(row[0] for row in await cursor.fetchall())


async def test_twenty_requests_with_one_id_make_one_run_and_one_pin(wire, data, services):
    request = create(data.reference, request_id=new_id())
    answers = await asyncio.gather(*(wire.runs.CreateRun(request, **wire.user()) for _ in range(20)))
    (run_id,) = {answer.run.run_id for answer in answers}
    assert await pins(services, data.split_id) == [run_id]


async def test_a_request_id_belongs_to_one_request_for_a_run(wire, data, make_split, services):
    fields = {"request_id": new_id(), "queue": f"q{new_id()[-8:]}", "labels": {"team": "vision"}}
    run = (await wire.runs.CreateRun(create(data.name, **fields), **wire.user())).run
    later = await make_split(data.dataset_id, data.version_id, (0.6, 0.2, 0.2), seed=1)  # what `cells` now means
    for repeated in (
        create(data.name, **fields),
        create(f"{data.name}@v1", **fields),
        create(data.reference, **fields),
        create(data.version_id, **fields),
        create(split_id=data.split_id, **fields),
    ):
        assert (await wire.runs.CreateRun(repeated, **wire.user())).run.run_id == run.run_id
    for other, differing in (
        (create(later.reference, **fields), "data"),
        (create(split_id=later.split_id, **fields), "split_id"),
        (create(data.name, **fields | {"model": "yolov8s"}), "model"),
        (create(data.name, **fields | {"arguments": {"epochs": struct_pb2.Value(number_value=4)}}), "arguments"),
        (create(data.name, **fields | {"queue": "", "labels": {}, "external_id": "x"}), "queue, external_id, labels"),
    ):
        answer = await refused(wire.runs.CreateRun(other, **wire.user()))
        assert (answer.code, answer.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request_id"])
        assert f"was used for {run.reference} with other {differing}:" in str(answer)
    assert (await pins(services, data.split_id), await pins(services, later.split_id)) == ([run.run_id], [])


async def test_a_request_id_belongs_to_one_request_for_an_evaluation(wire, data):
    run, another = await finished(wire, data), await finished(wire, data)
    fields = {"run_id": run.run_id, "request_id": new_id(), "part": dataset_pb2.PART_VAL, "force": True}

    async def ask(**changed):
        return await wire.evaluations.CreateEvaluation(
            evaluation_service_pb2.CreateEvaluationRequest(**fields | changed), **wire.user()
        )

    made = (await ask()).evaluation
    assert (await ask(split_id=data.split_id)).evaluation.evaluation_id == made.evaluation_id
    for changed, differing in (
        ({"run_id": another.run_id}, "run_id"),
        ({"part": dataset_pb2.PART_TEST}, "part"),
        ({"arguments": {"conf": struct_pb2.Value(number_value=0.5)}}, "arguments"),
        ({"force": False}, "force"),
    ):
        answer = await refused(ask(**changed))
        assert (answer.code, answer.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request_id"])
        assert f"was used for evaluation 1 of {run.reference} with other {differing}:" in str(answer)
