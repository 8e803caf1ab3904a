"""One port for every platform: gRPC, gRPC-Web, JSON, NDJSON, SSE, plots and the page; and nobody without a token."""

import asyncio
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from main_job import EPOCHS, Command, Story
from PIL import Image
from splitrail.internal.trainer.v1 import job_service_pb2, job_service_pb2_grpc
from splitrail.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from splitrail.trainer.v1 import run_service_pb2, run_service_pb2_grpc
from splitrail_local.testing import RunningStack

pytestmark = pytest.mark.integration
METRICS = "/splitrail.metrics.v1.MetricsService"


@pytest.fixture
def channel(stack: RunningStack):
    with grpc.insecure_channel(stack.gateway_url.removeprefix("http://")) as channel:
        yield channel


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def test_grpc(story: Story, stack: RunningStack, channel):
    stub = metrics_service_pb2_grpc.MetricsServiceStub(channel)
    request = metrics_service_pb2.WatchRunRequest(run_id=story.run["runId"])
    messages = list(stub.WatchRun(request, metadata=bearer(stack.admin_token), timeout=30))
    assert [message.event.seq for message in messages if message.HasField("event")] == list(
        range(1, messages[-1].cursor + 1)
    )
    assert messages[-1].closed.reason == metrics_service_pb2.CLOSED_REASON_ENDED


def test_grpc_web(story: Story, stack: RunningStack):
    body = metrics_service_pb2.GetRunMetricsRequest(run_id=story.run["runId"]).SerializeToString()
    answer = httpx.post(
        f"{stack.gateway_url}{METRICS}/GetRunMetrics",
        content=struct.pack(">BI", 0, len(body)) + body,
        headers={
            "content-type": "application/grpc-web+proto",
            "x-grpc-web": "1",
            "authorization": f"Bearer {stack.admin_token}",
        },
    )
    flag, length = struct.unpack(">BI", answer.content[:5])
    message = metrics_service_pb2.GetRunMetricsResponse.FromString(answer.content[5 : 5 + length])
    trailers = answer.content[5 + length :]
    assert (flag, [epoch.epoch for epoch in message.epochs]) == (0, list(range(1, EPOCHS + 1)))
    assert trailers[0] == 0x80
    assert b"grpc-status:0" in trailers


def test_ndjson_resumes_from_a_cursor(story: Story, api: httpx.Client):
    answer = api.get(f"/api/runs/{story.run['runId']}/watch")
    assert answer.headers["content-type"] == "application/x-ndjson"
    whole = [json.loads(line) for line in answer.text.splitlines()]
    half = len(whole) // 2
    place = {"after_seq": whole[half]["cursor"], "incarnation": whole[half]["incarnation"]}
    rest = api.get(f"/api/runs/{story.run['runId']}/watch", params=place)
    events = [message for message in whole if "event" in message]
    assert [json.loads(line) for line in rest.text.splitlines()] == [
        message for message in whole if "event" not in message or int(message["cursor"]) > int(whole[half]["cursor"])
    ]
    assert [int(message["cursor"]) for message in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize("by_query", [False, True])
def test_sse(story: Story, stack: RunningStack, by_query):
    headers = {"accept": "text/event-stream"} | ({} if by_query else {"authorization": f"Bearer {stack.admin_token}"})
    params = {"access_token": stack.admin_token} if by_query else {}
    answer = httpx.get(f"{stack.gateway_url}/api/runs/{story.run['runId']}/watch", headers=headers, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    messages = [
        json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")
    ]
    assert messages[-1]["closed"]["reason"] == "CLOSED_REASON_ENDED"


@pytest.fixture
def waiting_run(story: Story, api: httpx.Client) -> Iterator[str]:
    """A run that no pod will ever claim: its watches stay open."""
    wanted = {"data": "cells@v1", "model": "yolov8n", "arguments": {"epochs": 1}, "queue": "unattended"}
    run_id = api.post("/api/runs", json=wanted).raise_for_status().json()["run"]["runId"]
    yield run_id
    api.post(f"/api/runs/{run_id}/cancel", json={}).raise_for_status()


async def test_a_thousand_watches_on_one_connection(waiting_run: str, stack: RunningStack):
    """Beyond a connection's limit of streams calls wait in silence, the short ones too."""
    metadata = bearer(stack.admin_token)
    async with grpc.aio.insecure_channel(stack.gateway_url.removeprefix("http://")) as channel:
        stub = metrics_service_pb2_grpc.MetricsServiceStub(channel)
        request = metrics_service_pb2.WatchRunRequest(run_id=waiting_run)
        watches = [stub.WatchRun(request, metadata=metadata) for _ in range(1000)]
        async with asyncio.timeout(30):
            messages = await asyncio.gather(*(watch.read() for watch in watches))
            assert len({message.incarnation for message in messages}) == 1
            assert (await stub.GetMetricSchema(metrics_service_pb2.GetMetricSchemaRequest(), metadata=metadata)).metrics


def test_json_paths_of_the_contract(story: Story, api: httpx.Client):
    run = story.run
    split = (
        api.get(f"/api/datasets/{run['datasetId']}/versions/{run['versionId']}/split")
        .raise_for_status()
        .json()["split"]
    )
    assert split["digest"] == run["splitDigest"]
    metrics = api.get(f"/api/runs/{run['runId']}/metrics").raise_for_status().json()
    assert metrics["summary"]["epochsDone"] == EPOCHS
    assert api.get("/api/runs", params={"state": "JOB_STATE_SUCCEEDED"}).json()["runs"][0]["runId"] == run["runId"]
    for name in ("PART_TEST", "test", "Test"):
        assets = (
            api.get(f"/api/datasets/{run['datasetId']}/assets", params={"split": name})
            .raise_for_status()
            .json()["assets"]
        )
        assert {asset["part"] for asset in assets} == {"PART_TEST"}
    assert api.get("/api/runs", params={"state": "failed"}).json()["runs"] == []


def test_a_plus_in_a_query_is_a_space(story: Story, api: httpx.Client):
    path = f"/api/datasets/{story.run['datasetId']}/assets"
    assert api.get(f"{path}?path_prefix=no+such%2Bfolder/").raise_for_status().json()["assets"] == []
    refused = api.get("/api/datasets:resolve?reference=no+such%2Bname").json()
    assert "no such+name" in json.dumps(refused)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/runs/00000000-0000-7000-8000-000000000000", 404),
        ("/api/runs/not-a-uuid", 400),
        ("/api/runs?page_size=-1", 400),
        ("/api/runs?page_token=forged", 400),
        ("/api/runs?no_such_parameter=1", 400),
        ("/api/nothing", 404),
        ("/api/runs/..%2f..%2fetc%2fpasswd", 400),
        ("/assets/../envoy.yaml.j2", 404),
        ("/assets/absent.js", 404),
    ],
)
def test_refusals_over_json(api: httpx.Client, path, status):
    answer = api.get(path)
    assert answer.status_code == status, answer.text
    assert "Traceback" not in answer.text
    if answer.request.url.path.startswith("/api/"):
        assert answer.json()["code"] == {400: 3, 404: 5}[status]


def test_errors_over_json_name_the_field(api: httpx.Client, story: Story):
    answer = api.post("/api/runs", json={"data": "cells@v1", "model": "yolov8n", "arguments": {"epochs": "abc"}})
    assert answer.status_code == 400
    details = answer.json()["details"]
    assert any(item.get("reason") == "INVALID_FIELD" for item in details)
    assert any(
        violation["field"] == "arguments.epochs" for item in details for violation in item.get("fieldViolations", [])
    )


def test_large_requests_and_answers_pass(api: httpx.Client, command: Command, tmp_path: Path):
    """JSON is several times the size of the messages that it stands for; Envoy's own limit for it is 1 MiB."""
    rows = "".join(f"0 0.5 0.5 {0.0001 * number:.4f} 0.5\n" for number in range(1, 2001))
    for folder in ("images", "labels"):
        (tmp_path / "crowded" / folder).mkdir(parents=True)
    for number in range(8):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / "crowded" / "images" / f"{number}.png")
        (tmp_path / "crowded" / "labels" / f"{number}.txt").write_text(rows)
    imported = command.json("dataset", "import", str(tmp_path / "crowded"))
    answer = api.get(
        f"/api/datasets/{imported['version']['datasetId']}/assets", params={"include_annotations": True}
    ).raise_for_status()
    assert sum(len(asset["annotations"]) for asset in answer.json()["assets"]) == 8 * 2000
    assert len(answer.content) > 1024**2

    opened = api.post("/api/imports", json={"dataset_name": "long"}).raise_for_status().json()["datasetImport"]
    files = [
        {"path": f"{'/'.join(['x' * 200] * 5)}/{number}.jpg", "sha256": f"{number:064x}", "size_bytes": 1}
        for number in range(1000)
    ]
    assert (
        len(
            api.post(f"/api/imports/{opened['importId']}/files", json={"files": files})
            .raise_for_status()
            .json()["uploads"]
        )
        == 1000
    )
    assert api.get("/api/datasets", params={"page_token": "W1tb" * 8000}).status_code == 400


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x.y.z", "Basic YWRtaW46YWRtaW4="])
def test_nobody_without_a_token(stack: RunningStack, token):
    headers = {"authorization": token} if token else {}
    for path in ("/api/runs", "/api/datasets", f"{METRICS}/GetRunMetrics"):
        assert httpx.get(stack.gateway_url + path, headers=headers).status_code == 401
    assert httpx.get(f"{stack.s3_endpoint}/{stack.s3_bucket}").status_code == 403


def test_other_projects_are_not_found_and_roles_are_enforced(story: Story, stack: RunningStack, channel):
    stub = run_service_pb2_grpc.RunServiceStub(channel)
    foreign = bearer(stack.user_token({"elsewhere": "admin"}))
    viewer = bearer(stack.user_token({"default": "viewer"}))
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetRun(run_service_pb2.GetRunRequest(run_id=story.run["runId"]), metadata=foreign, timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert (
        stub.GetRun(run_service_pb2.GetRunRequest(run_id=story.run["runId"]), metadata=viewer, timeout=10).run.reference
        == "cells/1"
    )
    with pytest.raises(grpc.RpcError) as caught:
        stub.CancelRun(run_service_pb2.CancelRunRequest(run_id=story.run["runId"]), metadata=viewer, timeout=10)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_pods_and_services_have_no_way_in(stack: RunningStack, channel):
    """A worker's token passes Envoy's check of the issuer, but the queue is not behind the gateway: there, the same
    call succeeds.
    """
    headers = {"authorization": f"Bearer {stack.worker_token}"}
    assert httpx.get(f"{stack.gateway_url}/api/runs", headers=headers).status_code == 403
    request, metadata = job_service_pb2.ClaimJobRequest(queue="nobodys"), bearer(stack.worker_token)
    with grpc.insecure_channel(stack.environment("pod")["SPLITRAIL_TRAINER_ADDRESS"]) as direct:
        assert (
            not job_service_pb2_grpc.JobServiceStub(direct)
            .ClaimJob(request, metadata=metadata, timeout=10)
            .HasField("job")
        )
    with pytest.raises(grpc.RpcError) as caught:
        job_service_pb2_grpc.JobServiceStub(channel).ClaimJob(request, metadata=metadata, timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_lists_the_public_services(stack: RunningStack, channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    listed = database.get_services()
    assert "splitrail.split.v1.SplitService" in listed
    assert [name for name in listed if name.startswith("splitrail.internal.")] == []
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("splitrail.metrics.v1.MetricsService")
    assert service.methods_by_name["WatchRun"].server_streaming


def test_health_and_page(stack: RunningStack):
    assert httpx.get(f"{stack.gateway_url}/healthz").status_code == 200
    page = httpx.get(stack.gateway_url)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for line in page.text.splitlines():
        if "/assets/" in line:
            asset = httpx.get(stack.gateway_url + line.split('"')[1 if "src" in line else 3])
            assert asset.status_code == 200
            assert asset.headers["x-content-type-options"] == "nosniff"
