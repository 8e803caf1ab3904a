"""Drafts by the client and by the command, through a real gateway to real services."""

import hashlib
import itertools
import json
import os
import pty
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
import splitrail_client
from splitrail.split.v1 import version_pb2
from splitrail_client import Annotation, AnnotationList, AssetUpsert, Box
from splitrail_client.text import human_size
from splitrail_local.shapes import CLASS_NAMES, generate

pytestmark = pytest.mark.integration
IMAGES = 12
NUMBERS = itertools.count()
FIRST = "images/shapes_0000.jpg"


@pytest.fixture
def seed() -> int:
    """A number that no other test of this file has: images of another seed are other images."""
    return next(NUMBERS)


@pytest.fixture
def cells(client, tmp_path, seed) -> str:
    """The name of a dataset with one version."""
    generate(tmp_path / "source", images=IMAGES, size=48, seed=seed)
    return client.import_dataset(tmp_path / "source", f"cells-{seed}").report.dataset_name


@pytest.fixture
def more(tmp_path, seed) -> Path:
    """A folder of three images that the platform has never seen."""
    generate(tmp_path / "more", images=3, size=48, seed=1000 + seed)
    return tmp_path / "more" / "images"


def box(class_id: int, center: float = 0.5) -> Annotation:
    return Annotation(class_id=class_id, box=Box(center_x=center, center_y=0.5, width=0.25, height=0.25))


def test_from_a_draft_to_the_next_version(client, cells, more):
    draft = client.new_draft(f"{cells}@v1")
    assert (draft.image_count, list(draft.class_names)) == (IMAGES, list(CLASS_NAMES))
    known = AssetUpsert(
        path="images/new/shapes_0001.jpg", annotations=AnnotationList(items=[box(3)]), external_id="theirs-1"
    )
    reports = []
    change = client.upsert_assets(f"{cells}@draft", [known], images=more, into="images/new", progress=reports.append)
    assert (change.added, change.changed, change.unchanged, change.uploaded_files) == (3, 0, 0, 3)
    assert change.uploaded_bytes == sum(path.stat().st_size for path in more.iterdir())
    assert (change.version.image_count, change.version.unlabelled_count) == (IMAGES + 3, 2)
    assert reports[0].phase == "scanned"
    assert (reports[-1].phase, reports[-1].done, reports[-1].total) == ("uploading", 3, 3)
    again = client.upsert_assets(draft, [known], images=more, into="images/new")
    assert (again.unchanged, again.uploaded_files) == (3, 0)

    nothing = AssetUpsert(path=FIRST, annotations=AnnotationList())
    assert client.upsert_assets(draft, [nothing]).changed == 1
    removed = client.delete_assets(draft, ["images/shapes_0002.jpg", "images/nowhere.jpg"], external_ids=["nobodys"])
    assert (removed.deleted_count, removed.version.image_count) == (1, IMAGES + 2)
    classes = client.update_classes(draft, add=["moon"], rename={"star": "sun"}, merge={"square": "circle"}).classes
    assert [item.name for item in classes] == ["circle", "square", "triangle", "sun", "moon"]
    assert [item.name for item in classes if item.HasField("merged_into_class_id")] == ["square"]

    [pending] = client.drafts(cells)
    found = client.diff(pending.version)
    new = [f"images/new/shapes_{number:04d}.jpg" for number in (1, 0, 2)]  # what was said of images, then the others
    assert [item.asset.path or item.other.path for item in found.assets] == [*new, "images/shapes_0002.jpg", FIRST]
    assert version_pb2.ASSET_FIELD_ANNOTATIONS in found.assets[-1].fields
    made = client.commit(draft)
    assert (made.number, list(made.class_names), made.base_version_id) == (
        2,
        ["circle", "triangle", "sun", "moon"],
        draft.base_version_id,
    )
    whole = client.diff(f"{cells}@v2", f"{cells}@v1", annotations=True)
    assert (whole.counts.added, whole.counts.removed, whole.counts.changed) == (3, 1, len(whole.assets) - 4)
    assert {(item.other_name, item.name) for item in whole.classes} == {("star", "sun"), ("square", ""), ("", "moon")}
    theirs = next(item.asset for item in whole.assets if item.asset.external_id == "theirs-1")
    assert list(theirs.annotations) == [box(2)]  # where `sun` is, now that the gap of `square` is closed
    assert [item.number for item in client.versions(cells)] == [2, 1]
    assert client.drafts(cells) == []
    assert client.split(f"{cells}@v2").version_id == made.version_id


def test_all_pages_of_what_is_sent_and_of_what_differs(client, cells, tmp_path, seed, monkeypatch):
    monkeypatch.setattr("splitrail_client.versions.PAGE", 4)
    monkeypatch.setattr("splitrail_client.base.PAGE", 4)
    generate(tmp_path / "many", images=10, size=48, seed=2000 + seed)
    draft = client.new_draft(cells)
    change = client.upsert_assets(draft, images=tmp_path / "many" / "images", into="/many/")
    assert (change.added, change.uploaded_files, change.version.image_count) == (10, 10, IMAGES + 10)
    assert client.delete_assets(draft, [f"images/shapes_{number:04d}.jpg" for number in range(6)]).deleted_count == 6
    found = client.diff(draft)
    assert (found.counts.added, found.counts.removed) == (10, 6)
    assert len(found.assets) == 16
    wrong = AssetUpsert(path="many/shapes_0009.jpg", annotations=AnnotationList(items=[box(7)]))
    with pytest.raises(splitrail_client.RefusedError) as refused:
        client.upsert_assets(draft, [wrong])
    assert refused.value.sentences()[0].startswith(
        "assets[0].annotations.items[0].class_id: many/shapes_0009.jpg: 7 is not a position"
    )
    unknown = [AssetUpsert(path=f"many/shapes_{number:04d}.jpg") for number in range(5)] + [AssetUpsert(path="x.jpg")]
    with pytest.raises(splitrail_client.RefusedError) as refused:
        client.upsert_assets(draft, unknown)
    assert refused.value.sentences() == [
        "assets[5].sha256: x.jpg: is needed to add an image: the draft has none with this external_id or path"
    ]


def test_more_annotations_than_a_request_takes(client, cells):
    draft = client.new_draft(cells)
    items = [box(0, 0.2 + 0.00001 * number) for number in range(10_000)]
    crowded = [
        AssetUpsert(path=f"images/shapes_{number:04d}.jpg", annotations=AnnotationList(items=items))
        for number in range(IMAGES)
    ]
    assert sum(one.ByteSize() for one in crowded) > 4 << 20
    change = client.upsert_assets(draft, crowded)
    assert (change.changed, change.version.object_count) == (IMAGES, IMAGES * 10_000)


def test_the_second_of_two_drafts_is_refused_until_it_names_the_newest_version(client, invoke, cells):
    first, second = client.new_draft(f"{cells}@v1"), client.new_draft(f"{cells}@v1")
    with pytest.raises(splitrail_client.RefusedError, match=f"2 drafts: .*{first.version_id}"):
        client.commit(f"{cells}@draft")
    for draft, path in ((first, FIRST), (second, "images/shapes_0001.jpg")):
        client.delete_assets(draft, [path])
    client.commit(first)
    with pytest.raises(splitrail_client.RefusedError) as refused:
        client.commit(second.version_id)
    assert (refused.value.reason, refused.value.metadata["removed"]) == ("BASE_MOVED", "1")
    done = invoke("version", "commit", f"{cells}@draft")
    assert (done.exit_code, done.stdout) == (3, "")
    assert f"the newest version of {cells} is {cells}@v2, not {cells}@v1" in done.stderr
    assert invoke("version", "commit", f"{cells}@draft", "--expected-base", f"{cells}@v2").stdout.startswith(
        f"{cells}@v3 {IMAGES - 1} images"
    )
    with pytest.raises(splitrail_client.RefusedError, match="committed and cannot change"):
        client.delete_assets(second, [FIRST])


def test_versions_of_two_datasets_are_not_compared(client, invoke, cells):
    client.create_dataset(f"{cells}-other")
    draft = client.new_draft(f"{cells}-other")
    done = invoke("version", "diff", draft.version_id, f"{cells}@v1")
    assert (done.exit_code, done.stdout) == (2, "")
    assert (
        done.stderr
        == f"splitrail: {cells} and {cells}-other are different datasets: only versions of one dataset can be compared\n"
    )


def test_a_draft_that_equals_its_base_is_that_version_however_often_it_is_committed(client, invoke, cells):
    draft = client.new_draft(cells)
    first, again = (invoke("version", "commit", draft.version_id) for _ in range(2))
    assert (first.exit_code, first.stdout) == (
        0,
        f"{cells}@v1 {IMAGES} images, {client.version(cells).object_count} objects, 4 classes\n",
    )
    assert first.stderr == f"the draft equals {cells}@v1: no new version was created\n"
    assert (again.exit_code, again.stdout, again.stderr) == (0, first.stdout, first.stderr)
    assert client.commit(draft).number == 1
    assert [item.number for item in client.versions(cells)] == [1]
    gone = invoke("version", "commit", f"{cells}@draft")
    assert (gone.exit_code, gone.stdout) == (3, "")
    assert f"{cells} has no draft: it was committed or deleted, or none was started" in gone.stderr
    gone = invoke("version", "remove", draft.version_id, FIRST)
    assert (gone.exit_code, "a draft that was committed without changes, or it is in a project" in gone.stderr) == (
        3,
        True,
    )

    draft = client.new_draft(cells)
    client.delete_assets(draft, [FIRST])
    first, again = (invoke("version", "commit", draft.version_id) for _ in range(2))
    assert (first.exit_code, first.stdout.split()[0], first.stderr) == (0, f"{cells}@v2", "")
    assert (again.exit_code, again.stdout, again.stderr) == (0, first.stdout, "")
    deleted = client.new_draft(cells)
    client.discard_draft(deleted)
    gone = invoke("version", "commit", deleted.version_id)
    assert (gone.exit_code, gone.stdout) == (3, "")
    assert f"there is no version or draft {deleted.version_id}: it was deleted" in gone.stderr


def test_a_second_draft_is_told_of_the_first(client, invoke, cells):
    first = invoke("version", "new", cells)
    assert (first.exit_code, first.stderr) == (0, "")
    second = invoke("version", "new", cells)
    assert second.exit_code == 0
    assert second.stderr == f"{cells} has 1 other draft, so name drafts by their ids:\nsplitrail version ls {cells}\n"
    made = [line.split()[2] for line in (second.stdout, first.stdout)]
    lines = [line.split() for line in invoke("version", "ls", cells).stdout.splitlines()]
    assert [line[0] for line in lines] == ["VERSION", *made, f"{cells}@v1"]
    assert {line[-2] for line in lines[1:]} <= {
        date.today().isoformat(),
        (date.today() - timedelta(days=1)).isoformat(),
    }


@pytest.mark.parametrize("task", ["detect", "classify"])
def test_a_dataset_without_import_gets_its_first_version_from_a_draft(client, invoke, more, seed, task):
    name = f"by-hand-{seed}"
    done = invoke(
        "dataset",
        "create",
        name,
        "--task",
        task,
        "--label",
        "team=blood",
        "--external-id",
        f"theirs-{seed}",
        "-o",
        "json",
    )
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["name"], document["task"], document["latestVersion"]) == (name, f"TASK_{task.upper()}", 0)
    assert (document["labels"], document["externalId"]) == ({"team": "blood"}, f"theirs-{seed}")
    taken = invoke("dataset", "create", name)
    assert (taken.exit_code, taken.stderr) == (3, f"splitrail: NAME: '{name}' is taken by another dataset\n")
    with pytest.raises(splitrail_client.RefusedError) as refused:
        client.create_dataset(f"{name}-2", task, external_id=f"theirs-{seed}")
    assert refused.value.reason == "ALREADY_EXISTS"
    assert f"by hand: splitrail version new {name}" in invoke("version", "ls", name).stderr

    assert f"{name} draft" in invoke("version", "new", name).stdout
    assert client.version_id(f"{name}@draft") == client.version(f"{name}@draft").version_id
    empty = invoke("version", "commit", f"{name}@draft")
    assert (empty.exit_code, "holds no image" in empty.stderr) == (3, True)
    assert invoke("version", "classes", f"{name}@draft", "--add", "rbc").stdout == "rbc\n"
    known = (
        {"classId": 0, "box": {"centerX": 0.5, "centerY": 0.5, "width": 0.2, "height": 0.1}}
        if task == "detect"
        else {"classId": 0}
    )
    (more.parent / "a.json").write_text(
        json.dumps({"assets": [{"path": "shapes_0000.jpg", "annotations": {"items": [known]}}]})
    )
    added = invoke("version", "add", f"{name}@draft", str(more), "--annotations", str(more.parent / "a.json"))
    assert added.exit_code == 0, added.output
    assert (
        invoke("version", "commit", f"{name}@draft").stdout == f"{name}@v1 3 images, 2 unlabelled, 1 object, 1 class\n"
    )
    assert [(item.name, item.latest_version) for item in client.datasets() if item.name == name] == [(name, 1)]
    draft = client.new_draft(name)
    assert (draft.image_count, draft.base_version_id) == (3, client.version(name).version_id)


def test_refusals_name_the_image_and_files_that_are_none(client, cells, more, tmp_path):
    draft = client.new_draft(cells)
    (more / "copy.jpg").write_bytes((tmp_path / "source" / FIRST).read_bytes())
    with pytest.raises(splitrail_client.RefusedError) as refused:
        client.upsert_assets(draft, images=more)
    (sentence,) = refused.value.sentences()
    assert sentence.startswith("assets[0].sha256: copy.jpg: ")
    assert FIRST in sentence
    (more / "copy.jpg").write_bytes(b"")
    with pytest.raises(splitrail_client.RefusedError, match="size") as refused:
        client.upsert_assets(draft, images=more)
    assert refused.value.sentences()[0].startswith("contents[0].size_bytes: copy.jpg: must be at least 1, not 0")
    (more / "copy.jpg").write_bytes(b"no image")
    with pytest.raises(splitrail_client.RefusedError) as refused:
        client.upsert_assets(draft, images=more)
    assert refused.value.sentences()[0].startswith("assets[0].sha256: copy.jpg: bad_image")
    assert list(client.diff(draft).assets) == []
    for path, problem in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "source" / "data.yaml", "is not an image"),
    ):
        with pytest.raises(splitrail_client.UsageError, match=problem):
            client.upsert_assets(draft, images=path)
    with pytest.raises(splitrail_client.UsageError, match="no class 'moon'; it has: circle, square"):
        client.update_classes(draft, merge={"moon": "star"})
    with pytest.raises(splitrail_client.RefusedError, match="merge the two"):
        client.update_classes(draft, rename={"star": "circle"})


def test_the_command_in_text_and_json(client, invoke, cells, more, tmp_path):
    def shown(*arguments: str) -> str:
        done = invoke("version", *arguments)
        assert done.exit_code == 0, done.output
        return done.output

    def document(*arguments: str):
        done = invoke("version", *arguments, "-o", "json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    draft = document("new", cells)
    assert (draft["state"], draft["imageCount"], draft["reference"]) == (
        "VERSION_STATE_DRAFT",
        IMAGES,
        draft["versionId"],
    )
    items = [{"classId": 0, "box": {"centerX": 0.5, "centerY": 0.5, "width": 0.2, "height": 0.1}}]
    (tmp_path / "a.json").write_text(
        json.dumps({"assets": [{"path": "new/images/shapes_0000.jpg", "annotations": {"items": items}}]})
    )
    adding = ["add", f"{cells}@draft", str(more.parent), "--into", "new", "--annotations", str(tmp_path / "a.json")]
    assert "not sent: 4 annotation files\nlabel files are not read: give annotations with --annotations FILE" in (
        added := shown(*adding)
    )
    assert (
        f"3 added, 0 changed, 0 unchanged; 3 files sent ({human_size(sum(one.stat().st_size for one in more.iterdir()))})"
        in added
    )
    assert f"{cells} draft {draft['versionId']} {IMAGES + 3} images, 2 unlabelled, " in added
    again = document(*adding)
    assert (again["unchangedCount"], again["uploadedFiles"], again["version"]["imageCount"]) == (3, 0, IMAGES + 3)
    assert (
        document("add", f"{cells}@draft", str(more / "shapes_0000.jpg"), "--into", "new/images")["unchangedCount"] == 1
    )

    removed = shown("remove", f"{cells}@draft", "new/images/shapes_0002.jpg", "nowhere.jpg")
    assert "1 image not found in the draft\n1 removed\n" in removed
    assert document("remove", f"{cells}@draft", "--external-id", "x")["deletedCount"] == 0
    changed = ["classes", f"{cells}@draft", "--rename", "star=sun", "--merge", "square=circle"]
    assert shown(*changed) == "circle\nsquare -> circle\ntriangle\nsun\n"
    classes = document("classes", f"{cells}@draft", "--add", "moon")["classes"]
    assert classes[1] == {"classId": 1, "name": "square", "mergedIntoClassId": 0}
    assert [item["name"] for item in classes] == ["circle", "square", "triangle", "sun", "moon"]

    lines = shown("diff", f"{cells}@draft").splitlines()
    assert lines[0] == "2 added, 0 removed, 0 changed"
    assert {
        "class sun: was star",
        "class square: removed",
        "class moon: added",
        "new/images/shapes_0000.jpg: added",
    } < set(lines)
    assert [item["reference"] for item in document("ls", cells)] == [draft["versionId"], f"{cells}@v1"]
    assert shown("commit", f"{cells}@draft").startswith(f"{cells}@v2 {IMAGES + 2} images, 1 unlabelled, ")
    found = document("diff", f"{cells}@v1", f"{cells}@v2")
    counts = found["counts"]
    [relabelled] = [item["images"] for item in counts["fields"] if item["field"] == "ASSET_FIELD_ANNOTATIONS"]
    assert (counts["added"], counts["removed"], relabelled) == (2, 0, counts["changed"])
    renamed = {"kind": "DIFFERENCE_KIND_CHANGED", "classId": 3, "name": "sun", "otherName": "star"}
    assert any(renamed.items() <= item.items() for item in found["classes"])
    first = found["assets"][0]
    assert (first["kind"], first["asset"]["path"], "other" in first) == (
        "DIFFERENCE_KIND_ADDED",
        "new/images/shapes_0000.jpg",
        False,
    )
    assert first["asset"]["sha256"] == hashlib.sha256((more / "shapes_0000.jpg").read_bytes()).hexdigest()
    assert [line.split()[0] for line in shown("ls", cells).splitlines()] == ["VERSION", f"{cells}@v2", f"{cells}@v1"]
    assert shown("diff", f"{cells}@v2", f"{cells}@v1").startswith(f"0 added, 2 removed, {counts['changed']} changed\n")


def test_deleting_asks_and_says_so_where_nobody_can_answer(stack, client, invoke, cells):
    for arguments in (["version", "delete", f"{cells}@v1"], ["dataset", "delete", cells]):
        done = invoke(*arguments)
        assert (done.exit_code, done.stdout) == (2, ""), done.output
        assert "asks for confirmation, and there is no terminal to answer on: give --yes" in done.stderr
    here, terminal = pty.openpty()
    os.write(here, b"\x04")  # Ctrl-D: somebody is there, and does not answer
    environment = {**os.environ, "SPLITRAIL_URL": stack.gateway_url, "SPLITRAIL_TOKEN": stack.admin_token}
    program = [sys.executable, "-c", "from splitrail_client.cli import main; main()", "dataset", "delete", cells]
    left = subprocess.run(
        program, env=environment, stdin=terminal, capture_output=True, text=True, timeout=60, check=False
    )
    os.close(terminal)
    os.close(here)
    assert (left.returncode, left.stdout) == (1, "")
    assert left.stderr == f"Delete the dataset {cells} with all of its versions for good? [y/N]: \nAborted!\n"
    assert [item.number for item in client.versions(cells)] == [1]


def test_deleting_names_what_it_deletes(client, invoke, cells):
    client.new_draft(f"{cells}@v1")
    for arguments in (["version", "delete", f"{cells}@draft"], ["dataset", "delete", cells]):
        done = invoke(*arguments, input="n\n")
        assert (done.exit_code, done.stdout) == (1, ""), done.output
        assert "for good?" in done.stderr
    done = invoke("version", "delete", f"{cells}@v1", "--yes")
    assert done.exit_code == 3
    assert "is based on it" in done.stderr
    assert invoke("version", "delete", f"{cells}@draft", input="y\n").stdout == f"{cells}@draft deleted\n"
    assert client.drafts(cells) == []
    with pytest.raises(splitrail_client.RefusedError, match="has no draft"):
        client.version(f"{cells}@draft")
    client.split(f"{cells}@v1")
    for loose in (cells, f"{cells}@v1#1"):
        done = invoke("version", "delete", loose, "--yes")
        assert (done.exit_code, f"use {cells}@v1 to delete that one" in done.stderr) == (2, True)
    assert json.loads(invoke("version", "delete", f"{cells}@v1", "--yes", "-o", "json").stdout) == {
        "deleted": f"{cells}@v1"
    }
    assert client.versions(cells) == []
    assert invoke("version", "ls", cells).stdout == ""
    assert invoke("dataset", "delete", cells, "--yes").stdout == f"{cells} deleted\n"
    done = invoke("dataset", "delete", cells, "--yes", "-o", "json")
    assert (done.exit_code, f"there is no dataset '{cells}'" in done.stderr) == (3, True)
