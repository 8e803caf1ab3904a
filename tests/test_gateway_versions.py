"""A draft from its beginning to its end as another platform makes it: JSON through Envoy, and bytes to signed
addresses; no client of ours.
"""

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

pytestmark = pytest.mark.integration


def picture(number: int) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (32, 32), (number, 0, 200)).save(made, "PNG")
    return made.getvalue()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def boxes(*class_ids: int) -> dict[str, Any]:
    return {
        "items": [
            {"classId": class_id, "box": {"centerX": 0.5, "centerY": 0.25, "width": 0.5, "height": 0.125}}
            for class_id in class_ids
        ]
    }


class Versions:
    """The versions of one dataset, by path below /api/datasets/{dataset_id}; an answer is its JSON."""

    def __init__(self, api: httpx.Client, dataset_id: str) -> None:
        self.api = api
        self.path = f"/api/datasets/{dataset_id}"

    def post(self, path: str, body: dict[str, Any], status: int = 200) -> Any:
        answer = self.api.post(f"{self.path}/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def get(self, path: str, **params: Any) -> Any:
        answer = self.api.get(f"{self.path}/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def delete(self, path: str, status: int = 200) -> Any:
        answer = self.api.delete(f"{self.path}/{path}")
        assert answer.status_code == status, answer.text
        return answer.json()

    def send(self, *contents: bytes) -> list[str]:
        """Uploads what the project lacks; the hashes of that."""
        asked = {"contents": [{"sha256": sha(data), "sizeBytes": len(data)} for data in contents]}
        uploads = self.api.post("/api/assets:check", json=asked).raise_for_status().json()["uploads"]
        by_hash = {sha(data): data for data in contents}
        for item in uploads:
            httpx.put(item["url"], content=by_hash[item["sha256"]]).raise_for_status()
        return [item["sha256"] for item in uploads]


@pytest.fixture
def versions(api: httpx.Client, request: pytest.FixtureRequest) -> Iterator[Versions]:
    """Of a new dataset, which the test may delete."""
    asked = {"name": f"json-{request.node.name}"[:64], "task": "TASK_DETECT", "labels": {"team": "x"}}
    made = api.post("/api/datasets", json=asked).raise_for_status().json()["dataset"]
    assert (made["labels"], made["latestVersion"]) == ({"team": "x"}, 0)
    yield Versions(api, made["datasetId"])
    assert api.delete(f"/api/datasets/{made['datasetId']}").status_code in (200, 404)


def reason(error: dict[str, Any]) -> tuple[str, list[str]]:
    """The reason of an error, and the fields that it names."""
    (info,) = [item for item in error["details"] if "reason" in item]
    return info["reason"], [one["field"] for item in error["details"] for one in item.get("fieldViolations", [])]


def test_a_draft_from_its_creation_to_commit_and_diff(versions: Versions):
    red, green, blue = (picture(number) for number in (1, 2, 3))
    first = versions.post("versions", {"classNames": ["cell", "wbc"], "requestId": f"first-{versions.path}"})["version"]
    assert (first["state"], first["number"], first["classNames"]) == ("VERSION_STATE_DRAFT", 0, ["cell", "wbc"])
    assert (
        versions.post("versions", {"classNames": ["cell", "wbc"], "requestId": f"first-{versions.path}"})["version"]
        == first
    )
    draft = f"versions/{first['versionId']}"
    wanted = {
        "path": "a.png",
        "sha256": sha(red),
        "annotations": boxes(0, 1),
        "metadata": {"entries": {"site": "north"}},
    }
    assert reason(versions.post(f"{draft}/assets", {"assets": [wanted]}, 400)) == (
        "UPLOAD_MISSING",
        ["assets[0].sha256"],
    )
    assert versions.send(red, green) == [sha(red), sha(green)]
    assert versions.send(red, green) == []
    added = versions.post(
        f"{draft}/assets", {"assets": [wanted, {"externalId": "their-2", "sha256": sha(green), "annotations": {}}]}
    )
    assert (added["addedCount"], added["version"]["objectCount"], added["version"]["emptyCount"]) == (2, 2, 1)
    one = versions.post(f"{draft}/commit", {})["version"]
    assert (one["number"], one["state"], one["versionId"]) == (1, "VERSION_STATE_COMMITTED", first["versionId"])

    second = versions.post("versions", {"baseVersionId": one["versionId"]})["version"]
    draft = f"versions/{second['versionId']}"
    versions.send(blue)
    new = {"path": "c.png", "sha256": sha(blue), "annotations": boxes(1)}
    bad = {"path": "a.png", "annotations": boxes(0, 0, 5)}
    assert reason(versions.post(f"{draft}/assets", {"assets": [new, bad]}, 400)) == (
        "INVALID_FIELD",
        ["assets[1].annotations.items[1]", "assets[1].annotations.items[2].class_id"],
    )
    assert versions.get(f"{draft}/diff")["assets"] == []
    versions.post(f"{draft}/assets", {"assets": [new, {"path": "a.png", "annotations": boxes(1)}]})
    assert (
        versions.post(f"{draft}/assets:delete", {"externalIds": ["their-2"], "paths": ["nowhere.png"]})["deletedCount"]
        == 1
    )
    changed = versions.post(
        f"{draft}/classes", {"changes": [{"rename": {"classId": 0, "name": "rbc"}}, {"add": {"name": "platelet"}}]}
    )
    assert [item["name"] for item in changed["classes"]] == ["rbc", "wbc", "platelet"]
    (pending,) = versions.get("drafts")["drafts"]
    assert (pending["version"]["versionId"], pending["version"]["imageCount"]) == (second["versionId"], 2)

    two = versions.post(f"{draft}/commit", {"expectedBaseVersionId": one["versionId"]})["version"]
    assert (two["number"], two["classIds"]) == (2, [0, 1, 2])
    found = versions.get(f"{draft}/diff", other_version_id=one["versionId"], include_annotations=True)
    assert found["counts"] == {
        "added": 1,
        "removed": 1,
        "changed": 1,
        "fields": [{"field": "ASSET_FIELD_ANNOTATIONS", "images": 1}],
    }
    shown = [(item["kind"], (item.get("asset") or item["other"])["path"], item["fields"]) for item in found["assets"]]
    assert shown == [
        ("DIFFERENCE_KIND_ADDED", "c.png", []),
        ("DIFFERENCE_KIND_REMOVED", f"{sha(green)}.png", []),
        ("DIFFERENCE_KIND_CHANGED", "a.png", ["ASSET_FIELD_ANNOTATIONS"]),
    ]
    assert found["assets"][2]["asset"]["annotations"] == boxes(1)["items"]
    assert found["assets"][2]["asset"]["metadata"] == {"site": "north"}
    assert [(item["kind"], item["otherName"], item["name"]) for item in found["classes"]] == [
        ("DIFFERENCE_KIND_CHANGED", "cell", "rbc"),
        ("DIFFERENCE_KIND_ADDED", "", "platelet"),
    ]
    page = versions.get(f"{draft}/diff", page_size=2, kind="DIFFERENCE_KIND_REMOVED")
    assert (len(page["assets"]), page["nextPageToken"], page["counts"]) == (1, "", found["counts"])


def test_what_stands_in_the_way_of_a_commit_or_a_deletion(versions: Versions):
    versions.send(picture(11), picture(12))
    first, second = (versions.post("versions", {"classNames": ["cell"]})["version"]["versionId"] for _ in range(2))
    assert reason(versions.post(f"versions/{first}/commit", {}, 400)) == ("VERSION_STATE", ["version_id"])
    for draft, number in ((first, 11), (second, 12)):
        versions.post(f"versions/{draft}/assets", {"assets": [{"path": "a.png", "sha256": sha(picture(number))}]})
    versions.post(f"versions/{first}/commit", {})
    assert reason(versions.post(f"versions/{second}/commit", {}, 409)) == ("BASE_MOVED", [])
    assert reason(versions.delete(f"drafts/{first}", 400)) == ("VERSION_STATE", ["version_id"])
    third = versions.post("versions", {"baseVersionId": first})["version"]["versionId"]
    assert reason(versions.delete(f"versions/{first}", 400))[0] == "PINNED"
    for draft in (second, third):
        versions.delete(f"drafts/{draft}")
    assert versions.get("drafts") == {"drafts": [], "nextPageToken": ""}
    versions.delete(f"versions/{first}")
    assert reason(versions.delete(f"versions/{first}", 404))[0] == "NOT_FOUND"
