"""What every call carries, and which calls gRPC repeats."""

import json
from pathlib import Path

import grpc
import pytest
from splitrail.split.v1 import dataset_service_pb2
from splitrail.trainer.v1 import run_service_pb2
from splitrail_client.channel import Channel
from splitrail_client.connection import Connection

PACKAGE = Path(__file__).parents[2] / "src" / "splitrail_client"


@pytest.fixture
async def channel():
    made = Channel(Connection("http://127.0.0.1:1", "secret", "test"))
    yield made
    await made.close()


async def test_every_mutation_carries_a_request_id_and_keeps_the_callers(channel):
    sent = []

    async def method(request, **_):
        sent.append(request)
        return request

    await channel.call(method, dataset_service_pb2.DeleteDatasetRequest())
    await channel.call(method, run_service_pb2.CreateRunRequest(request_id="mine"))
    await channel.call(method, run_service_pb2.GetRunRequest())
    assert len(sent[0].request_id) == 36
    assert sent[1].request_id == "mine"


def test_the_service_config_is_the_one_of_the_contracts():
    own = PACKAGE / "service_config.json"
    assert own.read_text() == (PACKAGE.parents[3] / "proto" / "service_config.json").read_text(), (
        "run python proto/service_config.py"
    )
    (method,) = json.loads(own.read_text())["methodConfig"]
    assert {"service": "splitrail.trainer.v1.RunService", "method": "CreateRun"} in method["name"]
    assert "WatchRun" not in {item["method"] for item in method["name"]}
    assert method["retryPolicy"]["retryableStatusCodes"] == [grpc.StatusCode.UNAVAILABLE.name]
