"""What docs/clients.md promises of every service, asked through the gateway as any caller would."""

import json
import time
from typing import Any

import httpx
import pytest
from main_job import Command
from splitrail_local.shapes import generate

pytestmark = pytest.mark.integration
STRANGER = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def cells(api: httpx.Client, command: Command, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A dataset with a split, and a run on it that no pod ever takes; its JSON."""
    folder = tmp_path_factory.mktemp("promises") / "cells"
    generate(folder, images=12, size=32, seed=3)
    command.run("dataset", "import", str(folder), "--name", "promises")
    command.run("split", "create", "promises@v1", "--ratios", "0.5,0.25,0.25", "--seed", "1")
    wanted = {"data": "promises@v1", "model": "yolov8n", "arguments": {"epochs": 1}, "queue": "unattended"}
    run: dict[str, Any] = api.post("/api/runs", json=wanted).raise_for_status().json()["run"]
    return run


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Code and reason of a refusal."""
    error = answer.json()
    return error["code"], next(detail["reason"] for detail in error["details"] if "reason" in detail)


def fields(answer: httpx.Response) -> list[str]:
    return [item["field"] for detail in answer.json()["details"] for item in detail.get("fieldViolations", [])]


def first_messages(api: httpx.Client, run_id: str, count: int, **place: Any) -> list[dict[str, Any]]:
    """The first messages of a watch, each of which must come within two seconds."""
    found: list[dict[str, Any]] = []
    began = time.monotonic()
    with api.stream("GET", f"/api/runs/{run_id}/watch", params=place) as answer:
        for line in answer.iter_lines():
            found.append(json.loads(line))
            assert time.monotonic() - began < 2
            if len(found) == count:
                break
    return found


def test_a_watch_says_something_at_once(api: httpx.Client, cells: dict[str, Any]):
    """An event where there is one to replay, else a heartbeat; both with cursor and incarnation."""
    (event,) = first_messages(api, cells["runId"], 1)
    assert event["cursor"] == event["event"]["seq"] == "1"
    (heartbeat,) = first_messages(api, cells["runId"], 1, after_seq=1, incarnation=event["incarnation"])
    assert (heartbeat["cursor"], heartbeat["incarnation"], heartbeat["heartbeat"]) == ("1", event["incarnation"], {})


@pytest.mark.parametrize("place", [{"after_seq": 1_000_000}, {"after_seq": 1, "incarnation": "another"}])
def test_a_cursor_of_another_feed_is_out_of_range(api: httpx.Client, cells: dict[str, Any], place):
    answer = api.get(f"/api/runs/{cells['runId']}/watch", params=place)
    assert (answer.status_code, refused(answer)) == (400, (11, "CURSOR_OUT_OF_RANGE"))
    (metadata,) = [detail["metadata"] for detail in answer.json()["details"] if "reason" in detail]
    assert metadata.keys() >= {"incarnation", "last_seq"}


def test_of_two_who_change_a_dataset_the_second_is_told(api: httpx.Client, cells: dict[str, Any]):
    path = f"/api/datasets/{cells['datasetId']}"
    etag = api.get(path).raise_for_status().json()["dataset"]["etag"]
    first = {"labels": {"by": "first"}, "updateMask": "labels", "etag": etag, "requestId": "promises-first"}
    changed = api.patch(path, json=first).raise_for_status().json()["dataset"]
    assert changed["labels"] == {"by": "first"}
    assert api.patch(path, json=first).raise_for_status().json()["dataset"]["etag"] == changed["etag"], (
        "the answer was lost"
    )
    second = api.patch(path, json={"labels": {"by": "second"}, "updateMask": "labels", "etag": etag})
    assert (second.status_code, refused(second)) == (409, (10, "ETAG_MISMATCH"))
    assert api.patch(path, json={"externalId": "x", "labels": {}, "updateMask": "externalId"}).json()["dataset"][
        "labels"
    ] == {"by": "first"}


def test_a_lost_delete_can_be_repeated(api: httpx.Client):
    dataset_id = (
        api.post("/api/datasets", json={"name": "short-lived"}).raise_for_status().json()["dataset"]["datasetId"]
    )
    for _ in range(2):
        api.delete(f"/api/datasets/{dataset_id}", params={"allow_missing": True}).raise_for_status()
    assert refused(api.delete(f"/api/datasets/{dataset_id}")) == (5, "NOT_FOUND")
    for path in (f"/api/splits/{STRANGER}", f"/api/datasets/{STRANGER}"):
        api.delete(path, params={"allow_missing": True}).raise_for_status()


def test_a_page_token_belongs_to_its_request(api: httpx.Client, cells: dict[str, Any]):
    for name in ("page-a", "page-b"):
        api.post("/api/datasets", json={"name": name, "requestId": name}).raise_for_status()
    page = api.get("/api/datasets", params={"page_size": 1}).raise_for_status().json()
    assert len(page["datasets"]) == 1
    again = {"page_size": 1, "page_token": page["nextPageToken"]}
    assert api.get("/api/datasets", params=again).raise_for_status().json()["datasets"] != page["datasets"]
    for path, params in (("/api/runs", again), ("/api/datasets", {**again, "name": "page-a"})):
        answer = api.get(path, params=params)
        assert (refused(answer), fields(answer)) == ((3, "INVALID_FIELD"), ["page_token"])
    assert api.get("/api/datasets", params={"page_size": 5000}).raise_for_status().json()["datasets"]


def test_one_request_id_is_one_request(api: httpx.Client, cells: dict[str, Any]):
    """Of everything that creates: the same request gives the same thing, another one is refused by name."""
    split = f"/api/datasets/{cells['datasetId']}/versions/{cells['versionId']}/split"
    ratios = {"train": 0.5, "val": 0.25, "test": 0.25}
    run = {"splitId": cells["splitId"], "model": "yolov8n", "queue": "unattended"}
    for path, key, first, other in (
        ("/api/projects", "project", {"projectId": "promised"}, {"projectId": "promised-too"}),
        ("/api/datasets", "dataset", {"name": "once"}, {"name": "twice"}),
        ("/api/imports", "datasetImport", {"datasetName": "promises"}, {"datasetName": "elsewhere"}),
        (
            split,
            "split",
            {"parameters": {"ratios": ratios, "seed": "5"}},
            {"parameters": {"ratios": ratios, "seed": "6"}},
        ),
        ("/api/runs", "run", {**run, "arguments": {"epochs": 1}}, {**run, "arguments": {"epochs": 2}}),
    ):
        made, same = (
            api.post(path, json={**first, "requestId": f"promises-{key}"}).raise_for_status().json()[key]
            for _ in range(2)
        )
        assert made == same or made[f"{key}Id"] == same[f"{key}Id"], path
        answer = api.post(path, json={**other, "requestId": f"promises-{key}"})
        assert (refused(answer), fields(answer)) == ((3, "INVALID_FIELD"), ["request_id"]), path


def test_an_external_id_is_taken_once(api: httpx.Client, cells: dict[str, Any]):
    run = {"splitId": cells["splitId"], "model": "yolov8n", "queue": "unattended", "externalId": "promised-41"}
    for path, first, other in (
        (
            "/api/datasets",
            {"name": "outside-a", "externalId": "promised-42"},
            {"name": "outside-b", "externalId": "promised-42"},
        ),
        (
            "/api/projects",
            {"projectId": "outside-a", "externalId": "promised-43"},
            {"projectId": "outside-b", "externalId": "promised-43"},
        ),
        ("/api/runs", run, {**run, "arguments": {"epochs": 2}}),
    ):
        api.post(path, json=first).raise_for_status()
        answer = api.post(path, json=other)
        assert (answer.status_code, refused(answer)) == (409, (6, "ALREADY_EXISTS")), path


def test_an_archived_project_can_only_be_read(api: httpx.Client):
    api.post("/api/projects", json={"projectId": "archived"}).raise_for_status()
    api.post("/api/datasets", json={"projectId": "archived", "name": "kept"}).raise_for_status()
    api.post("/api/projects/archived/archive", json={}).raise_for_status()
    answer = api.post("/api/datasets", json={"projectId": "archived", "name": "late"})
    assert (answer.status_code, refused(answer)) == (400, (9, "PROJECT_ARCHIVED"))
    assert [
        item["name"] for item in api.get("/api/datasets", params={"project_id": "archived"}).json()["datasets"]
    ] == ["kept"]
    api.post("/api/projects/archived/unarchive", json={}).raise_for_status()
    api.post("/api/datasets", json={"projectId": "archived", "name": "late"}).raise_for_status()
