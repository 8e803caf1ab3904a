"""Imports over the RPCs with real uploads: what is committed, what is reported, what is refused."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, import_pb2, import_service_pb2, version_pb2

from .calls import PRECONDITION, assets_of, invalid, refused, refused_with, sha

pytestmark = pytest.mark.integration
SUCCEEDED, FAILED = import_pb2.IMPORT_STATE_SUCCEEDED, import_pb2.IMPORT_STATE_FAILED


async def test_a_yolo_source_with_oddities_becomes_a_version_and_a_report(api, place, sources):
    files = sources.yolo(20)
    files["images/00001.jpg"] = b"not an image"
    files["labels/00002.txt"] = b"7 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.2 0.2\n"
    files["labels/00003.txt"] = b"0 0.5 0.5 0.2 nan\n1 0.25 0.25 0.5 0.5\n"
    ended = await api.bring({**files, "README.md": b"read me", "LICENSE": b"mine"})
    assert (ended.state, ended.failure) == (SUCCEEDED, "")
    assert (ended.format, ended.file_count, ended.image_count, ended.processed_count) == (
        import_pb2.SOURCE_FORMAT_YOLO,
        39,
        20,
        20,
    )
    assert [(p.path, p.line, p.code, p.image_excluded) for p in ended.problems] == [
        ("images/00001.jpg", 0, "bad_image", True),
        ("labels/00002.txt", 1, "class_range", False),
        ("labels/00003.txt", 1, "not_finite", False),
    ]
    assert (ended.problem_count, ended.excluded_count) == (3, 1)
    version = ended.version
    assert (version.number, version.dataset_name, list(version.class_names)) == (
        1,
        "cells",
        ["class0", "class1", "class2"],
    )
    assert (version.image_count, version.empty_count, version.unlabelled_count) == (19, 2, 2)
    shown = await assets_of(api, version, include_annotations=True, include_urls=True)
    assert [one.ordinal for one in shown] == list(range(19))
    assert [one.path for one in shown] == sorted(
        path for path in files if path.endswith(".jpg") and "00001" not in path
    )
    second = next(one for one in shown if one.path == "images/00002.jpg")
    assert [(a.class_id, a.box.center_x, a.box.width) for a in second.annotations] == [(0, 0.5, 0.2)]
    counted = [sum(a.class_id == index for one in shown for a in one.annotations) for index in range(3)]
    assert [count.objects for count in version.class_counts] == counted
    assert version.object_count == sum(counted)
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(second.url)).content == files["images/00002.jpg"]
        assert (await client.get(second.url.split("?")[0])).status_code == 403
    await place.unstaged()
    assert len(place.stored()) == 19


async def test_label_states_and_classes_filter_images(api, sources):
    version = (await api.bring(sources.yolo(30))).version
    for state, count in [
        (dataset_pb2.LABEL_STATE_EMPTY, 3),
        (dataset_pb2.LABEL_STATE_UNLABELLED, 3),
        (dataset_pb2.LABEL_STATE_LABELLED, 24),
    ]:
        assert len(await assets_of(api, version, label_state=state)) == count
    ones = await assets_of(api, version, class_name="class1", include_annotations=True)
    assert len(ones) == version.class_counts[1].images
    assert all(any(a.class_id == 1 for a in one.annotations) for one in ones)
    request = dataset_service_pb2.ListAssetsRequest(dataset_id=version.dataset_id, class_name="class1", page_size=4)
    seen, pages = [], 0
    while True:
        response = await api.call(api.datasets.ListAssets, request)
        seen += [one.ordinal for one in response.assets]
        pages += 1
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert seen == [one.ordinal for one in ones]
    assert pages == -(-len(ones) // 4)


async def test_voc_as_large_as_the_blood_cells(api, sources):
    await assert_blood_cells(api, sources.voc(364, degenerate=2))


async def test_the_blood_cells_themselves(api, sources, bccd: Path):
    await assert_blood_cells(api, sources.folder(bccd))


async def assert_blood_cells(api, files):
    """364 images, 3 classes, 2 boxes without area."""
    ended = await api.bring(files)
    assert (ended.state, ended.format) == (SUCCEEDED, import_pb2.SOURCE_FORMAT_VOC)
    assert (ended.version.image_count, list(ended.version.class_names)) == (364, ["Platelets", "RBC", "WBC"])
    problems = [problem for problem in ended.problems if not problem.note]
    assert [(p.code, p.image_excluded) for p in problems] == [("no_area", False), ("no_area", False)]
    assert all(p.path.startswith("Annotations/") and p.line for p in problems)
    assert (ended.problem_count, ended.excluded_count, ended.version.problem_count) == (2, 0, 2)


async def test_coco_that_names_absent_images(api, sources):
    ended = await api.bring(sources.coco(6, absent=2))
    assert (ended.state, ended.format, ended.version.image_count) == (SUCCEEDED, import_pb2.SOURCE_FORMAT_COCO, 6)
    assert [p.code for p in ended.problems] == ["image_absent", "image_absent"]


async def test_half_a_coco_file_refuses_the_import(api, sources):
    images = {f"images/{n}.jpg": sources.picture(n) for n in range(3)}
    document = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 64, "height": 48} for n in range(3)],
        "categories": [],
        "annotations": [],
    }
    whole = json.dumps(document).encode()
    ended = await api.bring({**images, "instances.json": whole[: len(whole) // 2]})
    assert (ended.state, ended.version.version_id) == (FAILED, "")
    assert "instances.json" in ended.failure


async def test_a_stray_file_that_cannot_be_read_is_a_problem_where_it_is_missed_by_no_image(api, sources):
    images = {f"images/{n}.jpg": sources.picture(n) for n in range(3)}
    document = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(3)],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [],
    }
    ended = await api.bring(
        {**images, "instances.json": json.dumps(document).encode(), "settings.json": b"// settings\n{}"}
    )
    assert (ended.state, [(p.path, p.code) for p in ended.problems]) == (SUCCEEDED, [("settings.json", "unreadable")])
    ended = await api.bring({**sources.voc(3), "Annotations/zz.xml": b""}, "others")
    assert (ended.state, [(p.path, p.code) for p in ended.problems if not p.note]) == (
        SUCCEEDED,
        [("Annotations/zz.xml", "unreadable")],
    )


async def test_annotations_of_which_none_belongs_to_an_image_refuse_the_import(api, sources):
    voc = sources.voc(3)
    files = {path.replace("cell_", "scan_") if path.endswith(".jpg") else path: data for path, data in voc.items()}
    assert files.keys() != voc.keys()
    ended = await api.bring(files)
    assert (ended.state, ended.version.version_id) == (FAILED, "")
    assert ended.failure.startswith("no annotation is of an image that is there; the first: Annotations/")


async def test_a_problem_of_a_coco_file_names_its_annotation_and_no_line(api, sources):
    files = sources.coco(4)
    document = json.loads(files["annotations/instances.json"])
    document["annotations"][2] |= {"id": 4711, "bbox": [4, 4, 0, 20]}
    files["annotations/instances.json"] = json.dumps(document).encode()
    ended = await api.bring(files)
    places = [(p.path, p.object, p.HasField("line"), p.code) for p in ended.problems if p.HasField("object")]
    assert places == [("annotations/instances.json", 3, False, "no_area")]
    assert "(id 4711)" in ended.problems[0].message


async def test_problems_are_paged_in_order(api, sources):
    files = sources.yolo(12)
    files["labels/00001.txt"] = b"9 0.5 0.5 0.1 0.1\n" * 5 + b"0 0.5 0.5 0.1 0.1\n"
    ended = await api.bring(files)
    request, lines = import_service_pb2.ListProblemsRequest(import_id=ended.import_id, page_size=2), []
    while True:
        response = await api.call(api.imports.ListProblems, request)
        lines += [problem.line for problem in response.problems]
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert lines == [1, 2, 3, 4, 5]


async def test_problems_come_before_notes(api, sources):
    files = {path: data for path, data in sources.yolo(6).items() if path.endswith(".jpg")}
    for path in [*files]:
        files[path.replace("images", "labels").replace(".jpg", ".txt")] = b"0 0.1 0.1 0.5 0.1 0.5 0.5\n"
    files["labels/00004.txt"] += b"9 0.5 0.5 0.1 0.1\n"
    ended = await api.bring({**files, "data.yaml": b"names: [a]\n"})
    assert [(p.code, p.note) for p in ended.problems[:2]] == [("class_range", False), ("polygon_to_box", True)]
    assert (ended.problem_count, ended.note_count) == (1, 6)


async def test_equal_content_is_one_version_and_is_not_sent_again(api, sources):
    files = sources.yolo(12)
    first = await api.bring(files)
    again = await api.open()
    uploads = await api.announce(again.import_id, files)
    assert {upload.sha256 for upload in uploads} == {
        sha(data) for path, data in files.items() if not path.endswith(".jpg")
    }
    await api.upload(uploads, files)
    await api.start(again.import_id)
    ended = await api.watch(again.import_id)
    assert ended.version.version_id == first.version.version_id
    assert [(p.code, p.note) for p in ended.problems] == [("version_unchanged", True)]
    assert "cells@v1" in ended.problems[0].message
    changed = await api.bring({**files, "labels/00001.txt": b"2 0.5 0.5 0.1 0.1\n"})
    assert (changed.version.number, changed.problem_count) == (2, 0)
    assert changed.version.digest != first.version.digest


async def test_paths_metadata_and_parts_make_a_version_though_the_digest_is_the_same(api, sources):
    files = sources.yolo(12)
    versions = [(await api.bring(files)).version]
    moved = {
        path.replace("images/0000", "images/day1/0000").replace("labels/0000", "labels/day1/0000"): data
        for path, data in files.items()
    }
    assert moved.keys() != files.keys()
    versions.append((await api.bring(moved)).version)
    again = await api.bring({**moved, "data.yaml": moved["data.yaml"] + b"\n"})
    assert again.version.version_id == versions[1].version_id
    lists = {"train.txt": [], "val.txt": []}
    for number, path in enumerate(sorted(path for path in moved if path.endswith(".jpg"))):
        lists["val.txt" if number % 3 == 0 else "train.txt"].append(f"./{path}")
    description = moved["data.yaml"].replace(b"train: images", b"train: train.txt\nval: val.txt")
    parted = {**moved, "data.yaml": description, **{name: "\n".join(lines).encode() for name, lines in lists.items()}}
    for _ in range(2):  # the second time there is nothing new
        versions.append((await api.bring(parted)).version)
    assert [version.number for version in versions] == [1, 2, 3, 3]
    assert len({version.digest for version in versions}) == 1
    assert versions[2].current_split_id


async def test_what_callers_said_of_images_is_not_lost_without_a_word(api, sources):
    files = sources.yolo(6)
    version = (await api.bring(files)).version
    draft = await api.draft(version.dataset_id, base_version_id=version.version_id)
    metadata = version_pb2.AssetMetadata(entries={"site": "north"})
    await api.upsert(
        draft.version_id,
        {"path": "images/00001.jpg", "external_id": "theirs"},
        {"path": "images/00002.jpg", "metadata": metadata},
    )
    await api.commit(draft.version_id)
    again = await api.bring(files)
    assert [(p.code, p.note) for p in again.problems] == [("caller_data_dropped", True)]
    assert again.problems[0].message.startswith("cells@v2 has external ids or metadata of 2 images")
    assert (again.version.number, again.version.digest) == (3, version.digest)
    later = await api.bring({**files, "labels/00001.txt": b"2 0.5 0.5 0.1 0.1\n"})
    assert (later.version.number, later.note_count) == (4, 0)


async def test_repeated_bytes_are_one_image(api, sources):
    files = sources.yolo(8)
    files["images/copy.jpg"] = files["images/00001.jpg"]
    files["images/other.jpg"] = files["images/00002.jpg"]
    files["labels/other.txt"] = b"0 0.1 0.1 0.1 0.1\n"
    ended = await api.bring(files)
    assert (ended.version.image_count, ended.excluded_count) == (8, 2)
    assert [(p.path, p.code, p.image_excluded) for p in ended.problems] == [
        ("images/copy.jpg", "duplicate_image", True),
        ("images/other.jpg", "duplicate_image", True),
    ]
    assert all("annotations differ" in p.message for p in ended.problems)


async def test_strict_refuses_and_what_was_verified_need_not_be_sent_again(api, place, sources):
    files = sources.yolo(10)
    files["labels/00001.txt"] = b"0 0.5 0.5 0 0.2\n1 0.5 0.5 0.1 0.1\n"
    ended = await api.bring(files, request_id="once", strict=True)
    assert ended.state == FAILED
    assert "1 problem;" in ended.failure
    assert "labels/00001.txt:1" in ended.failure
    assert [p.path for p in ended.problems] == ["labels/00001.txt"]
    assert not ended.HasField("version")
    assert place.execute("SELECT 1 FROM dataset") == []
    await place.unstaged()
    files["labels/00001.txt"] = b"0 0.5 0.5 0.2 0.2\n"
    again = await api.open(request_id="once")
    assert again.import_id != ended.import_id
    assert not any(
        upload.sha256 == sha(files["images/00001.jpg"]) for upload in await api.announce(again.import_id, files)
    )
    assert (await api.bring(files, request_id="once", strict=True)).state == SUCCEEDED


async def test_a_dry_run_reports_and_commits_nothing(api, place, sources):
    files = sources.yolo(10)
    files["images/00001.jpg"] = b""
    ended = await api.bring(files, dry_run=True)
    assert (ended.state, ended.problem_count, ended.excluded_count) == (SUCCEEDED, 1, 1)
    assert not ended.HasField("version")
    for table in ("dataset", "version", "asset"):
        assert place.execute(f"SELECT 1 FROM {table}") == []
    assert place.stored() == set()
    opened = await api.open()
    assert await api.announce(opened.import_id, files) == []


async def test_a_request_id_opens_one_import(api, sources):
    first = await api.open(request_id="r1")
    files = sources.yolo(5)
    await api.upload((await api.announce(first.import_id, files))[:3], files)
    resumed = await api.open(request_id="r1")
    assert (resumed.import_id, resumed.file_count) == (first.import_id, len(files))
    rest = await api.announce(first.import_id, files)
    assert len(rest) == len({sha(data) for data in files.values()}) - 3
    await api.upload(rest, files)
    await asyncio.gather(*(api.start(first.import_id) for _ in range(5)))
    ended = await api.watch(first.import_id)
    assert (ended.state, ended.version.number) == (SUCCEEDED, 1)
    assert (await api.open(request_id="r1")).version.version_id == ended.version.version_id
    assert await refused(api.open("others", request_id="r1")) == invalid("request_id")


async def test_imports_into_one_dataset_at_once_get_numbers_of_their_own(api, sources):
    ended = await asyncio.gather(*(api.bring(sources.yolo(6, start=100 * n)) for n in range(5)))
    assert sorted(one.version.number for one in ended) == [1, 2, 3, 4, 5]
    found = (
        await api.call(api.datasets.ListDatasets, dataset_service_pb2.ListDatasetsRequest(project_id=api.place.project))
    ).datasets
    assert [(one.name, one.latest_version) for one in found] == [("cells", 5)]
    versions = await api.call(
        api.datasets.ListVersions, dataset_service_pb2.ListVersionsRequest(dataset_id=found[0].dataset_id, page_size=3)
    )
    assert [one.number for one in versions.versions] == [5, 4, 3]
    request = dataset_service_pb2.ListVersionsRequest(
        dataset_id=found[0].dataset_id, page_token=versions.next_page_token
    )
    assert [one.number for one in (await api.call(api.datasets.ListVersions, request)).versions] == [2, 1]


async def test_bytes_that_do_not_match_their_hash(api, place, sources):
    files = sources.yolo(6)
    opened = await api.open()
    uploads = await api.announce(opened.import_id, files)
    other = sources.picture(999)
    forged = {
        **files,
        "images/00001.jpg": other[: len(files["images/00001.jpg"])].ljust(len(files["images/00001.jpg"]), b"\0"),
    }
    target = sha(files["images/00001.jpg"])
    await api.upload([one for one in uploads if one.sha256 != target], files)
    async with httpx.AsyncClient(trust_env=False) as client:
        url = next(one.url for one in uploads if one.sha256 == target)
        (await client.put(url, content=forged["images/00001.jpg"])).raise_for_status()
    await api.start(opened.import_id)
    ended = await api.watch(opened.import_id)
    assert [(p.path, p.code, p.image_excluded) for p in ended.problems] == [("images/00001.jpg", "hash_mismatch", True)]
    assert ended.version.image_count == 5
    await place.unstaged()


async def test_a_forged_label_file_refuses_the_import(api, sources):
    files = sources.yolo(6)
    opened = await api.open()
    uploads = await api.announce(opened.import_id, files)
    target = sha(files["labels/00001.txt"])
    await api.upload([one for one in uploads if one.sha256 != target], files)
    async with httpx.AsyncClient(trust_env=False) as client:
        url = next(one.url for one in uploads if one.sha256 == target)
        (await client.put(url, content=files["labels/00001.txt"].replace(b"1", b"0"))).raise_for_status()
    await api.start(opened.import_id)
    ended = await api.watch(opened.import_id)
    assert ended.state == FAILED
    assert "labels/00001.txt" in ended.failure


async def test_an_import_is_started_in_one_way_and_says_which(place, sources, serve_at):
    files = sources.yolo(6)
    async with serve_at(place, import_workers=0) as api:
        opened = await api.open()
        assert not opened.HasField("start_time")
        await api.upload(await api.announce(opened.import_id, files), files)
        queued = await api.start(opened.import_id, strict=True)
        assert (queued.task, queued.strict, queued.dry_run, queued.HasField("end_time")) == (
            dataset_pb2.TASK_DETECT,
            True,
            False,
            False,
        )
        assert opened.create_time.ToDatetime() < queued.start_time.ToDatetime()
        assert await api.start(opened.import_id, strict=True) == queued
        others = [{}, {"strict": True, "dry_run": True}, {"strict": True, "format": import_pb2.SOURCE_FORMAT_YOLO}]
        for options in others:
            assert await refused(api.start(opened.import_id, **options)) == (
                PRECONDITION,
                "IMPORT_STARTED",
                ["import_id"],
            )
        async with serve_at(place):
            ended = await api.watch(opened.import_id)
        assert (ended.state, ended.strict) == (SUCCEEDED, True)
        assert queued.start_time == ended.start_time
        assert ended.start_time.ToDatetime() < ended.end_time.ToDatetime()
        assert await api.start(opened.import_id, strict=True) == ended
        succeeded = (PRECONDITION, "IMPORT_ENDED", {"state": "SUCCEEDED"})
        for options in others:
            assert await refused_with(api.start(opened.import_id, **options)) == succeeded
        assert await refused_with(api.announce(opened.import_id, files)) == succeeded


async def test_an_import_that_failed_is_not_started_again(api):
    failed = await api.bring({"images/a.jpg": b"x", "labels/a.txt": b""})
    for late in (api.start(failed.import_id), api.announce(failed.import_id, {"images/b.jpg": b"y"})):
        assert await refused_with(late) == (PRECONDITION, "IMPORT_ENDED", {"state": "FAILED"})


async def test_start_waits_for_every_upload(api, sources):
    files = sources.yolo(6)
    opened = await api.open()
    uploads = await api.announce(opened.import_id, files)
    await api.upload(uploads[1:], files)
    assert (await refused(api.start(opened.import_id)))[:2] == (PRECONDITION, "UPLOAD_MISSING")
    await api.upload(uploads[:1], files)
    await api.start(opened.import_id)
    assert (await refused(api.announce(opened.import_id, files)))[:2] == (PRECONDITION, "IMPORT_STARTED")
    assert (await api.watch(opened.import_id)).state == SUCCEEDED


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ({}, "import_id"),
        ({"data.yaml": b"names: [a]"}, "import_id"),
        ({"a.jpg": b"x"}, "format"),
    ],
)
async def test_sources_without_images_or_a_known_format_are_refused_at_start(api, files, field):
    opened = await api.open()
    if files:
        await api.upload(await api.announce(opened.import_id, files), files)
    assert await refused(api.start(opened.import_id)) == invalid(field)


async def test_nothing_importable_fails(api):
    files = {"data.yaml": b"names: [a]", "images/a.jpg": b"x", "images/b.jpg": b"", "labels/a.txt": b""}
    ended = await api.bring(files)
    assert (ended.state, ended.problem_count, ended.excluded_count) == (FAILED, 2, 2)
    assert "none of the 2 images" in ended.failure


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd.txt", "../a.jpg", "a/../../b.jpg", "a\\b.jpg", "C:/a.jpg", "a//b.jpg", "./a.jpg", "a\0.jpg", "a\n.txt", "x" * 300 + ".jpg",
        "labels.cache", "best.pt", "a.rar", "script.py", "a/" * 600 + "b.jpg", "noextension",
    ],
)  # fmt: skip
async def test_paths_that_may_not_be_announced(api, path):
    opened = await api.open()
    assert await refused(api.announce(opened.import_id, {"good.jpg": b"1", path: b"2"})) == invalid("files[1].path")


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({"dataset_name": ""}, "dataset_name"),
        ({"dataset_name": "a/b"}, "dataset_name"),
        ({"dataset_name": "a" * 65}, "dataset_name"),
        ({"dataset_name": "a", "request_id": "r" * 129}, "request_id"),
        ({"dataset_name": "a", "task": 99}, "task"),
        ({"dataset_name": "a", "project_id": "Not A Project"}, "project_id"),
    ],
)
async def test_bad_fields_of_a_new_import(api, request_fields, field):
    assert await refused(
        api.call(api.imports.CreateImport, import_service_pb2.CreateImportRequest(**request_fields))
    ) == invalid(field)


async def test_hostile_annotations_are_reported_not_run(api, sources, tmp_path):
    files = sources.yolo(4)
    files["labels/00001.txt"] = "0 0.5 0.5 0.1 0.1 \0\n\ud7ff".encode()
    ended = await api.bring(files)
    assert (ended.state, ended.version.image_count) == (SUCCEEDED, 3)
    # Without its class names nothing of a source means anything.
    files["data.yaml"] = f"!!python/object/apply:os.mkdir ['{tmp_path / 'executed'}']\n".encode()
    ended = await api.bring(files)
    assert (ended.state, ended.problem_count > 0) == (FAILED, True)
    assert ended.failure.startswith(
        "a file that says something of many images cannot be read: mend it or leave it out; data.yaml"
    )
    assert not (tmp_path / "executed").exists()
    bomb = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>'
    files = {**sources.voc(3), "Annotations/cell_00000.xml": bomb}
    ended = await api.bring(files, "others")
    assert [(p.path, p.code, p.image_excluded) for p in ended.problems] == [
        ("Annotations/cell_00000.xml", "unreadable", True)
    ]
    assert ended.version.image_count == 2
