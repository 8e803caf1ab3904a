"""An import sends what is missing, once, and survives a store that cannot for a moment."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from splitrail.split.v1 import dataset_pb2, import_pb2
from splitrail_client.errors import ImportFailedError, SplitrailError, UnreachableError, UsageError
from splitrail_client.references import dataset_name
from splitrail_client.source import scan
from splitrail_client.transfer import ImportSpec, Transfer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "cells"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for number in range(12):
        (root / "images" / f"{number}.jpg").write_bytes(bytes([number]) * 1000)
        (root / "labels" / f"{number}.txt").write_text(f"0 0.5 0.5 0.{number + 1} 0.1\n")
    (root / "images" / "copy.jpg").write_bytes(bytes([3]) * 1000)
    (root / "empty.txt").touch()
    (root / "data.yaml").write_text("names: [cell]\n")
    return root


def transfer(peer, folder, report=lambda _: None, *, strict=False, dry_run=False):
    return Transfer(peer.channel, ImportSpec(folder, "default", "cells", strict, dry_run), report)


async def test_every_content_is_sent_once(peer, folder):
    reports = []
    result = await transfer(peer, folder, reports.append).run()
    assert result.reference == "cells@v1"
    assert len(peer.store.announced) == 27
    assert result.uploaded_files == len(peer.store.contents) == 26  # one image is a copy of another
    assert result.uploaded_bytes == sum(map(len, peer.store.contents.values()))
    uploading = [item for item in reports if item.phase == "uploading"]
    assert (uploading[-1].done, uploading[-1].total) == (27, 27)
    assert [item.done for item in uploading] == sorted(item.done for item in uploading)
    assert reports[0].phase == "scanned"


async def test_running_it_again_sends_nothing(peer, folder):
    await transfer(peer, folder).run()
    again = await transfer(peer, folder).run()
    assert (again.reference, again.uploaded_files, len(peer.store.started)) == ("cells@v1", 0, 1)
    peer.datasets.latest = 2  # since something else came in
    again = await transfer(peer, folder).run()
    assert (again.ended_before, again.uploaded_files, len(peer.store.started)) == (
        False,
        14,
        2,
    )  # no image, and what travels along


async def test_an_interrupted_import_sends_the_rest_only(peer, folder, monkeypatch):
    monkeypatch.setattr("splitrail_client.transfer.UPLOADS_AT_ONCE", 1)
    peer.store.answers = [200] * 5 + [400]
    with pytest.raises(SplitrailError, match="HTTP 400"):
        await transfer(peer, folder).run()
    images = {path: digest for path, digest in peer.store.announced.items() if path.endswith(".jpg")}
    sent = len(peer.store.contents.keys() & set(images.values()))
    assert 0 < sent < 12
    result = await transfer(peer, folder).run()
    assert result.uploaded_files == 26 - sent
    assert len(peer.store.imports) == 1


async def test_a_store_that_cannot_for_a_moment_is_asked_again(peer, folder):
    peer.store.answers = [503, 200, 500, 403]
    assert (await transfer(peer, folder).run()).uploaded_files == 26


async def test_a_store_that_never_can_is_unreachable(peer, folder, monkeypatch):
    monkeypatch.setattr("splitrail_client.transfer._TRIES", 2)
    peer.store.answers = [503] * 1000
    with pytest.raises(UnreachableError, match="did not accept"):
        await transfer(peer, folder).run()


@pytest.mark.parametrize("name", ["images/7.jpg", "labels/7.txt"])
async def test_a_file_that_changes_meanwhile_is_named(peer, folder, name):
    def change(progress):
        if progress.phase == "hashing" and progress.done == progress.total:
            (folder / name).write_bytes(b"other")

    with pytest.raises(UsageError, match=f"{name} changed"):
        await transfer(peer, folder, change).run()


async def test_small_annotations_come_along_a_mebibyte_at_a_time(peer, folder):
    (folder / "labels" / "large.txt").write_bytes(b"x" * 16385)
    for number in range(80):
        (folder / "labels" / f"more{number}.txt").write_bytes(bytes([number]) * 16000)
    await transfer(peer, folder).run()
    assert len(peer.store.pages) == 2
    assert len(peer.store.contents) == 26 + 81


async def test_a_list_of_objects_is_sent_as_it_is(peer, folder):
    listing = folder.parent / "objects.csv"
    listing.write_text("object\nincoming/default/a.jpg\n")
    order = ImportSpec(listing, "default", "cells", strict=False, dry_run=False)
    assert (await Transfer(peer.channel, order, lambda _: None).run()).uploaded_files == 1
    assert list(peer.store.announced) == ["objects.csv"]
    # Its objects may have changed: it is imported again, though the list is the same.
    await Transfer(peer.channel, order, lambda _: None).run()
    assert len(peer.store.imports) == 2


async def test_flags_and_failure(peer, folder):
    peer.store.end = import_pb2.IMPORT_STATE_FAILED
    with pytest.raises(ImportFailedError) as caught:
        await transfer(peer, folder, strict=True).run()
    assert caught.value.report.state == import_pb2.IMPORT_STATE_FAILED
    assert caught.value.exit_code == 1
    assert ImportFailedError("refused", import_pb2.Import(problem_count=2)).exit_code == 3
    assert peer.store.started[0].strict
    peer.store.end = import_pb2.IMPORT_STATE_SUCCEEDED
    result = await transfer(peer, folder, dry_run=True).run()
    assert (result.reference, peer.store.started[1].dry_run) == ("", True)


async def test_an_archive_is_sent_as_it_is_for_its_task(peer, folder):
    archive = folder.parent / "blood cells.v2.zip"
    archive.write_bytes(b"PK")
    assert dataset_name(archive) == "blood-cells.v2"
    found = scan(archive)
    assert ([item.path for item in found.files], found.image_count, found.kind) == (
        ["blood cells.v2.zip"],
        0,
        ".zip archive",
    )
    order = ImportSpec(archive, "default", "cells", strict=False, dry_run=False, task=dataset_pb2.TASK_POSE)
    assert (await Transfer(peer.channel, order, lambda _: None).run()).uploaded_files == 1
    assert list(peer.store.announced) == ["blood cells.v2.zip"]
    assert peer.store.tasks == [dataset_pb2.TASK_POSE]
    # The same source for another task is another import.
    await Transfer(peer.channel, replace(order, task=dataset_pb2.TASK_DETECT), lambda _: None).run()
    assert len(peer.store.imports) == 2


async def test_files_are_announced_a_page_at_a_time(peer, folder, monkeypatch):
    monkeypatch.setattr("splitrail_client.transfer.FILES_PER_REQUEST", 10)
    assert (await transfer(peer, folder).run()).uploaded_files == 26
    assert peer.store.pages == [10, 10, 7]


def test_what_a_scan_leaves_out(folder):
    for name in (".hidden.jpg", "labels.cache", "best.pt", "notes.md"):
        (folder / name).write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / ".git" / "a.jpg").write_bytes(b"x")
    outside = folder.parent / "outside.jpg"
    outside.write_bytes(b"x")
    (folder / "images" / "out.jpg").symlink_to(outside)
    (folder / "images" / "in.jpg").symlink_to("0.jpg")
    (folder / "images" / "loop").symlink_to(folder)
    (folder / "images" / "dangling.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg"))).write_bytes(b"x")
    found = scan(folder)
    assert len(found.files) == 28
    assert "images/in.jpg" in {item.path for item in found.files}
    assert found.left_out == {
        ".cache": 1,
        ".pt": 1,
        ".md": 1,
        "link to a folder or out of the folder": 3,
        "neither file nor folder": 1,
        "name that is not UTF-8": 1,
    }
    assert (found.kind, found.image_count) == ("folder", 14)


def test_folders_that_cannot_be_sent(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        scan(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="neither a folder nor"):
        scan(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty"):
        scan(tmp_path / "empty")
    (tmp_path / "empty" / "labels.txt").touch()
    with pytest.raises(UsageError, match="no image"):
        scan(tmp_path / "empty")
