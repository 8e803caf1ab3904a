"""Exports through a real gateway: by the client, by the command that is killed on its way, and as JSON; and small
pictures beside them.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from splitrail_local.shapes import generate

pytestmark = pytest.mark.integration
IMAGES = 400


@pytest.fixture(scope="module")
def split(client, tmp_path_factory):
    root = tmp_path_factory.mktemp("cells")
    generate(root, images=IMAGES, size=48, seed=1)
    client.import_dataset(root, "cells")
    return client.split("cells@v1", seed=1)


@pytest.fixture
def command(stack):
    program = str(Path(sys.executable).parent / "splitrail")
    environment = {**os.environ, "SPLITRAIL_URL": stack.gateway_url, "SPLITRAIL_TOKEN": stack.admin_token}

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [program, *arguments], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return start


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_export_imported_again_is_the_same(client, split, tmp_path):
    for format_ in ("yolo", "coco"):
        reports = []
        done = client.export("cells@v1#1", tmp_path / format_, format=format_, progress=reports.append)
        assert (done.reference, done.end.split_digest, done.written_files) == (
            "cells@v1#1",
            split.digest,
            len(contents(tmp_path / format_)),
        )
        assert (reports[-1].done, reports[-1].total) == (IMAGES, IMAGES)
        assert client.export("cells@v1", tmp_path / format_, format=format_).written_files == 0
        again = client.import_dataset(tmp_path / format_, f"again-{format_}", strict=True)
        assert (again.version.digest, again.uploaded_files > 0) == (done.end.version_digest, True)
        assert client.get_split(f"{again.reference}#1").digest == split.digest


def test_classes_of_whole_images_are_folders(client, tmp_path):
    generate(tmp_path / "shapes", images=12, size=32, seed=2)
    for number, image in enumerate(sorted((tmp_path / "shapes").rglob("*.jpg"))):
        target = tmp_path / "tree" / ("round" if number % 2 else "square") / image.name
        target.parent.mkdir(parents=True, exist_ok=True)
        image.rename(target)
    version = client.import_dataset(tmp_path / "tree", "kinds", task="classify").version
    split = client.split("kinds@v1", seed=1)
    done = client.export("kinds@v1#1", tmp_path / "out")
    assert {path.parent.name for path in (tmp_path / "out" / "train").rglob("*.jpg")} == {"round", "square"}
    again = client.import_dataset(tmp_path / "out", "kinds-again", task="classify", strict=True)
    assert (again.version.digest, done.end.version_digest) == (version.digest, version.digest)
    assert client.get_split(f"{again.reference}#1").digest == split.digest


def test_the_command_is_killed_and_run_again(client, split, command, tmp_path):
    whole = tmp_path / "whole"
    client.export("cells@v1", whole, parts=["train", "val"])
    folder, expected = tmp_path / "killed", contents(whole)
    arguments = ("dataset", "export", "cells@v1", str(folder), "--split", "train", "--split", "val")
    with command(*arguments) as killed:
        deadline = time.monotonic() + 60
        while len(list(folder.rglob("*.jpg"))) < 20:
            assert killed.poll() is None, killed.communicate()
            assert time.monotonic() < deadline
        os.kill(killed.pid, signal.SIGKILL)
    there = contents(folder)
    assert "data.yaml" not in there
    with command(*arguments, "-o", "json") as resumed:
        out, err = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, err
    assert contents(folder) == expected
    document = json.loads(out)
    assert document["writtenFiles"] == len(expected) - len([path for path in there if path in expected])
    assert (document["fileCount"], document["splitDigest"]) == (len(expected), split.digest)
    assert "exporting ..." in err
    with command(*arguments) as complete:
        assert "0 files written" in complete.communicate(timeout=60)[0]


def test_an_export_outlives_the_service(client, stack, split, tmp_path):
    killed = []

    def kill(progress):
        if progress.done == 30 and not killed:
            killed.append(stack.kill("split"))

    done = client.export("cells@v1", tmp_path / "x", progress=kill)
    stack.restored("split", *killed)
    assert done.end.file_count == len(contents(tmp_path / "x")) == done.written_files


def test_what_the_command_refuses(command, split, tmp_path):
    (tmp_path / "notes.txt").touch()
    for arguments, code, text in [
        (("cells@v1", str(tmp_path)), 2, "is not empty"),
        (("cells@v1", str(tmp_path / "x"), "--format", "zip"), 2, "'zip' is not one of"),
        (("cells@v1", str(tmp_path / "x"), "--split", "all"), 2, "'all' is not one of"),
        (("cells@v7", str(tmp_path / "x")), 3, "no version 'cells@v7'"),
    ]:
        with command("dataset", "export", *arguments) as refused:
            out, err = refused.communicate(timeout=60)
        assert (refused.returncode, out) == (code, ""), err
        assert text in err
    assert list(tmp_path.iterdir()) == [tmp_path / "notes.txt"]


def test_json_and_small_pictures(client, stack, split):
    headers = {"authorization": f"Bearer {stack.admin_token}"}
    with httpx.Client(base_url=stack.gateway_url, headers=headers, timeout=30) as api:
        answer = api.get(
            f"/api/splits/{split.split_id}/export", params={"parts": "PART_TEST", "format": "EXPORT_FORMAT_COCO"}
        )
        messages = [json.loads(line) for line in answer.raise_for_status().text.splitlines()]
        assert messages[0]["start"]["reference"] == "cells@v1#1"
        assert messages[-1]["end"]["splitDigest"] == split.digest
        files = [file for message in messages for file in message["files"]]
        assert len(files) == messages[-1]["end"]["fileCount"]
        empty = api.get(f"/api/splits/{split.split_id}/export", params={"parts": "PART_UNSPECIFIED"})
        assert (empty.status_code, "parts" in empty.text) == (400, True)
        image = next(file for file in files if file.get("url"))
        path = f"/api/datasets/{split.dataset_id}/assets/{image['sha256']}/thumbnail"
        picture = api.get(path).raise_for_status()
        assert (picture.headers["content-type"], picture.content[:2]) == ("image/jpeg", b"\xff\xd8")
        assert picture.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert picture.headers["x-content-type-options"] == "nosniff"
        assert api.get(path.replace(image["sha256"], "0" * 64)).status_code == 404
        assert httpx.get(stack.gateway_url + path).status_code == 401
        listed = api.get(
            f"/api/datasets/{split.dataset_id}/assets", params={"path_prefix": "images/", "metadata": "a=b"}
        ).raise_for_status()
        assert listed.json()["assets"] == []
