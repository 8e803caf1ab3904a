"""Projects, imports and labels, by the client and by the command, through a real gateway to real services."""

import asyncio
import json

import pytest
import splitrail_client
from splitrail.split.v1 import import_pb2, import_service_pb2
from splitrail_local.shapes import generate

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cells(client, tmp_path_factory) -> splitrail_client.Import:
    """An import that succeeded."""
    root = tmp_path_factory.mktemp("cells")
    generate(root, images=8, size=48, seed=1)
    return client.import_dataset(root, "cells").report


def test_a_project_from_its_creation_to_its_archive(client, invoke, tmp_path):
    done = invoke("project", "create", "lab-2", "--label", "team=blood", "--external-id", "theirs-2", "-o", "json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert (made["projectId"], made["labels"], made["externalId"], "archiveTime" in made) == (
        "lab-2",
        {"team": "blood"},
        "theirs-2",
        False,
    )
    taken = invoke("project", "create", "lab-2")
    assert (taken.exit_code, taken.stderr) == (3, "splitrail: PROJECT: 'lab-2' is taken by another project\n")
    assert {"default", "lab-2"} <= {item.project_id for item in client.projects()}
    assert client.get_project("lab-2").external_id == "theirs-2"

    assert invoke("project", "archive", "lab-2").stdout == "lab-2 archived\n"
    assert invoke("project", "archive", "lab-2").exit_code == 0
    assert "lab-2" not in {item.project_id for item in client.projects()}
    assert ["lab-2", "archived"] in [
        line.split()[:2] for line in invoke("project", "ls", "--archived").stdout.splitlines()
    ]
    refused = invoke("dataset", "create", "x", "--project", "lab-2")
    assert (refused.exit_code, refused.stdout) == (3, "")
    generate(tmp_path / "source", images=4, size=48, seed=2)
    assert invoke("dataset", "import", str(tmp_path / "source"), "--project", "lab-2").exit_code == 3
    assert invoke("project", "unarchive", "lab-2").stdout == "lab-2 active\n"
    assert "active" in invoke("project", "get", "lab-2").stdout
    assert invoke("dataset", "create", "x", "--project", "lab-2").exit_code == 0


def test_labels_of_a_dataset_change_unless_somebody_else_changed_them(client, invoke, cells):
    done = invoke(
        "dataset",
        "update",
        "cells",
        "--label",
        "team=blood",
        "--label",
        "site=here",
        "--external-id",
        "theirs",
        "-o",
        "json",
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["labels"] == {"team": "blood", "site": "here"}
    seen = client.dataset("cells")
    assert invoke("dataset", "update", "cells", "--remove-label", "site").stdout == "cells updated\n"
    with pytest.raises(splitrail_client.RefusedError) as refused:
        client.update_dataset(seen, labels={})
    assert refused.value.reason == "ETAG_MISMATCH"
    changed = client.update_dataset("cells", external_id="")
    assert (changed.external_id, dict(changed.labels)) == ("", {"team": "blood"})
    assert invoke("dataset", "update", "cells").exit_code == 2


async def opened(stack) -> str:
    """The id of an import into the dataset `waiting` that is never started."""
    async with splitrail_client.connect_async(stack.gateway_url, stack.admin_token) as client:
        request = import_service_pb2.CreateImportRequest(project_id="default", dataset_name="waiting")
        return (await client.channel.call(client.channel.imports.CreateImport, request)).dataset_import.import_id


def test_imports_are_listed_and_cancelled(stack, client, invoke, cells):
    listed = client.imports("cells", state=import_pb2.IMPORT_STATE_SUCCEEDED)
    assert [item.import_id for item in listed] == [cells.import_id]
    assert client.get_import(cells.import_id).version.number == 1
    ended = invoke("import", "cancel", cells.import_id)
    assert (ended.exit_code, ended.stdout) == (3, "")

    import_id = asyncio.run(opened(stack))
    for _ in range(2):
        assert invoke("import", "cancel", import_id).stdout == f"{import_id} cancelled\n"
    assert client.get_import(import_id).state == import_pb2.IMPORT_STATE_CANCELLED
    lines = [line.split() for line in invoke("import", "ls", "--state", "cancelled").stdout.splitlines()]
    assert [line[:3] for line in lines[1:]] == [[import_id, "waiting", "cancelled"]]
    assert json.loads(invoke("import", "get", cells.import_id, "-o", "json").stdout)["datasetName"] == "cells"


def test_a_repeated_creation_returns_the_same_run(client, cells):
    client.split("cells@v1")
    first, again = (
        client.train(data="cells@v1", model="yolov8n", epochs=1, request_id="one of mine") for _ in range(2)
    )
    assert first.run_id == again.run_id
    with pytest.raises(splitrail_client.RefusedError) as refused:
        client.train(data="cells@v1", model="yolov8n", epochs=2, request_id="one of mine")
    assert [item.field for item in refused.value.violations] == ["request_id"]
    client.cancel(first)
