"""Who may ask what, for every RPC of the service over a real socket; and what the protos declare of each request is
enforced.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from pydantic import SecretStr
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail.trainer.v1 import evaluation_service_pb2, run_service_pb2
from splitrail_common.access import rules
from splitrail_common.ids import new_id
from splitrail_common.peers import bearer
from splitrail_common.server import serving
from splitrail_local.bad_requests import bad_pages, beyond_limits, refusal, well_formed
from splitrail_trainer.app import build
from splitrail_trainer.models.domain import ArtifactKind

pytestmark = pytest.mark.integration
PUBLIC = [
    run_service_pb2.DESCRIPTOR.services_by_name["RunService"],
    evaluation_service_pb2.DESCRIPTOR.services_by_name["EvaluationService"],
]
JOBS = job_service_pb2.DESCRIPTOR.services_by_name["JobService"]
OF_NO_PROJECT = {"GetTrainingSchema"}
"""The same for everybody."""


@dataclass(frozen=True)
class Served:
    """The service behind its boundary."""

    channel: grpc.aio.Channel

    async def call(self, method: MethodDescriptor, request: Message, token: str) -> Any:
        """The answer. Raises AioRpcError."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        parse = GetMessageClass(method.output_type).FromString
        stub = self.channel.unary_unary(
            path, request_serializer=type(request).SerializeToString, response_deserializer=parse
        )
        return await stub(request, metadata=bearer(token), timeout=20)

    async def code(self, method: MethodDescriptor, request: Message, token: str) -> grpc.StatusCode:
        """How a call ends."""
        try:
            await self.call(method, request, token)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@pytest.fixture
async def served(settings, database) -> AsyncIterator[Served]:
    """The service on the test's own database; nothing runs in the background."""
    async with (
        build(settings.model_copy(update={"database_dsn": SecretStr(database.dsn)})) as app,
        serving(replace(app, background=()), "127.0.0.1:0", grace_seconds=0) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        yield Served(channel)


def methods(*services: ServiceDescriptor) -> list[MethodDescriptor]:
    return [method for service in services for method in service.methods]


def about(method: MethodDescriptor, **ids: str) -> Any:
    """A well-formed request about the things with these ids, as far as it has such fields; lists are of the project."""
    request = well_formed(method.input_type)
    for name, value in ({"model": "yolov8n", "reference": "cells/1", "project_id": "default"} | ids).items():
        if name in method.input_type.fields_by_name:
            setattr(request, name, value)
    if "data" in method.input_type.fields_by_name:
        request.data = "cells"
    return request


async def test_another_projects_things_are_not_found(world, served, stack):
    run_id = await world.add_run()
    ids = {"run_id": run_id, "evaluation_id": await world.add_evaluation(run_id)}
    stranger = stack.user_token({"elsewhere": "admin"})
    asked = [method for method in methods(*PUBLIC) if method.name not in OF_NO_PROJECT]
    found = {method.name: await served.code(method, about(method, **ids), stranger) for method in asked}
    assert found == dict.fromkeys(found, grpc.StatusCode.NOT_FOUND)
    assert len(found) >= 10


async def test_lists_of_everything_hold_only_what_the_caller_may_see(world, served, stack):
    run_id = await world.add_run()
    mine = await world.add_run(project_id="elsewhere")
    seen = {run_id: await world.add_evaluation(run_id), mine: await world.add_evaluation(mine)}
    by_name = {method.name: method for method in methods(*PUBLIC)}
    stranger = stack.user_token({"elsewhere": "viewer"})
    runs = await served.call(by_name["ListRuns"], run_service_pb2.ListRunsRequest(), stranger)
    assert [run.run_id for run in runs.runs] == [mine]
    evaluations = await served.call(
        by_name["ListEvaluations"], evaluation_service_pb2.ListEvaluationsRequest(), stranger
    )
    assert [item.evaluation_id for item in evaluations.evaluations] == [seen[mine]]


async def test_every_rpc_is_refused_to_those_whom_its_rule_does_not_name(world, served, stack):
    run_id = await world.add_run()
    claimed, _ = await world.claim()
    ids = {"run_id": run_id, "evaluation_id": await world.add_evaluation(run_id), "job_id": run_id}
    tokens = {"user": stack.user_token({"*": "admin"}), "worker": stack.worker_token, "attempt": claimed.token}
    for method in methods(*PUBLIC):
        for kind in ("worker", "attempt"):
            assert await served.code(method, about(method, **ids), tokens[kind]) is grpc.StatusCode.PERMISSION_DENIED, (
                method.name,
                kind,
            )
    for method in methods(JOBS):
        others = ("user", "attempt") if method.name == "ClaimJob" else ("user", "worker")
        for kind in others:
            assert await served.code(method, about(method, **ids), tokens[kind]) is grpc.StatusCode.PERMISSION_DENIED, (
                method.name,
                kind,
            )
    for method in methods(*PUBLIC, JOBS):
        assert await served.code(method, about(method, **ids), "none") is grpc.StatusCode.UNAUTHENTICATED, method.name


async def test_what_changes_something_needs_an_editor(world, served, stack):
    run_id = await world.add_run()
    ids = {"run_id": run_id, "evaluation_id": await world.add_evaluation(run_id)}
    viewer = stack.user_token({"default": "viewer"})
    for method in methods(*PUBLIC):
        code = await served.code(method, about(method, **ids), viewer)
        changes = method.name.startswith(("Create", "Cancel"))
        assert code is (grpc.StatusCode.PERMISSION_DENIED if changes else grpc.StatusCode.OK), method.name


async def test_an_attempts_token_is_good_for_its_own_job_only(world, served):
    """Both jobs are at attempt 1: only the job's id can tell them apart."""
    await world.add_run()
    other = await world.add_run()
    claimed, _ = await world.claim()
    theirs, _ = await world.claim()
    assert (theirs.job.job_id, claimed.job.attempt, theirs.job.attempt) == (other, 1, 1)
    good = {
        "CreateUploads": {"names": ["best.pt"]},
        "CommitArtifact": {"name": "best.pt", "kind": 2, "size_bytes": 1, "sha256": "0" * 64},
    }
    for method in methods(JOBS):
        if method.name != "ClaimJob":
            request = GetMessageClass(method.input_type)(job_id=other, **good.get(method.name, {}))
            assert await served.code(method, request, claimed.token) is grpc.StatusCode.NOT_FOUND, method.name
    assert (await world.run(other)).info.job == theirs.job
    assert (await world.run(other)).artifacts == ()


async def test_every_limit_of_every_request_is_enforced(world, served, stack):
    await world.add_run()
    claimed, _ = await world.claim()
    tokens: Sequence[tuple[ServiceDescriptor, str]] = [
        (service, stack.user_token({"*": "admin"})) for service in PUBLIC
    ]
    count = 0
    for service, token in [*tokens, (JOBS, claimed.token)]:
        for bad in beyond_limits(service) + bad_pages(service):
            rightful = stack.worker_token if bad.method.name == "ClaimJob" else token
            assert await refusal(served.channel, bad, bearer(rightful)) == bad.field, str(bad)
            count += 1
    assert count > 80


async def test_artifacts_come_in_pages_by_kind_and_name(world, served, stack):
    run_id = await world.add_run(epochs=9)
    _, holder = await world.claim()
    for name, kind in (
        ("b.csv", "RESULTS"),
        ("best.pt", "BEST_WEIGHTS"),
        ("a.csv", "RESULTS"),
        ("args.yaml", "ARGUMENTS"),
    ):
        await world.leave(holder, name, ArtifactKind[kind])
    method = next(item for item in methods(*PUBLIC) if item.name == "ListArtifacts")
    token, seen = "", []
    while True:
        request = run_service_pb2.ListArtifactsRequest(run_id=run_id, page_size=3, page_token=token)
        answer = await served.call(method, request, stack.user_token({"*": "viewer"}))
        assert len(answer.artifacts) <= 3
        seen += [item.name for item in answer.artifacts]
        assert all(world.get(item.url) == b"weights" for item in answer.artifacts)
        token = answer.next_page_token
        if not token:
            break
    assert seen == ["best.pt", "a.csv", "b.csv", "args.yaml"]


def test_every_rpc_has_a_rule():
    assert len(rules([*PUBLIC, JOBS])) == len(methods(*PUBLIC, JOBS)) == 18


async def test_a_run_that_does_not_exist(served, stack):
    method = next(item for item in methods(*PUBLIC) if item.name == "GetRun")
    request = run_service_pb2.GetRunRequest(run_id=new_id())
    assert await served.code(method, request, stack.user_token({"*": "viewer"})) is grpc.StatusCode.NOT_FOUND
