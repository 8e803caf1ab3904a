"""Split revisions over the RPCs: made once, never changed, pinned, compared, staged by attempts only."""

import asyncio
import math

import grpc
import httpx
import numpy as np
import pytest
from splitrail.internal.split.v1 import staging_service_pb2
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, split_pb2, split_service_pb2
from splitrail_common.digest import annotation_sha256, hashes_from_bytes, part_digest
from splitrail_common.ids import new_id

from .calls import NOT_FOUND, PRECONDITION, TEST, TRAIN, VAL, invalid, refused, sha

pytestmark = pytest.mark.integration


async def manifest(api, split_id, *parts, after=None):
    entries, end = [], None
    request = staging_service_pb2.StreamManifestRequest(split_id=split_id, parts=parts, after_ordinal=after)
    async for message in api.staging.StreamManifest(request, metadata=api.metadata, timeout=60):
        assert end is None
        assert message.ByteSize() < 1 << 20
        entries += message.entries
        end = message.end if message.HasField("end") else None
    assert end is not None
    return entries, end


async def test_a_split_is_stored_with_its_certificate_and_becomes_the_current_one(api, version):
    made = await api.split(version.version_id)
    assert (made.number, made.reference, made.parameters.seed, made.algorithm_version) == (1, "cells@v1#1", 42, "5")
    # Six of sixty images are unlabelled and in no part.
    assert [part.images for part in made.certificate.parts] == [38, 8, 8]
    assert [part.background_images for part in made.certificate.parts] == [4, 1, 1]
    assert "in no part of the split, because they have not been annotated: 6 images" in made.certificate.findings
    for balance, count in zip(made.certificate.classes, version.class_counts, strict=True):
        assert sum(part.images for part in balance.parts) == count.images
        assert sum(part.objects for part in balance.parts) == count.objects
    assert made.certificate.max_deviation <= made.certificate.random_max_deviation
    found = await api.call(
        api.splits.GetSplit,
        split_service_pb2.GetSplitRequest(dataset_id=version.dataset_id, version_id=version.version_id),
    )
    assert found.split == made
    by_id = await api.call(api.splits.GetSplit, split_service_pb2.GetSplitRequest(split_id=made.split_id))
    assert by_id.split == made
    request = dataset_service_pb2.ListAssetsRequest(dataset_id=version.dataset_id, page_size=1000)
    for part, images in [(TRAIN, 38), (VAL, 8), (TEST, 8), (dataset_pb2.PART_UNSPECIFIED, 60)]:
        request.split = part
        shown = (await api.call(api.datasets.ListAssets, request)).assets
        assert len(shown) == images
        assert all(one.part == part for one in shown) or not part
    request.split, request.label_state = dataset_pb2.PART_UNSPECIFIED, dataset_pb2.LABEL_STATE_UNLABELLED
    assert {one.part for one in (await api.call(api.datasets.ListAssets, request)).assets} == {0}


async def test_the_same_wish_gives_the_same_split(api, version):
    first, again = await api.split(version.version_id), await api.split(version.version_id)
    other, drawn = await api.split(version.version_id, seed=43), await api.split(version.version_id, stratify=False)
    assert first.digest == again.digest
    assert (first.number, again.number) == (1, 2)
    assert len({first.digest, other.digest, drawn.digest}) == 3
    listed = await api.call(
        api.splits.ListSplits, split_service_pb2.ListSplitsRequest(version_id=version.version_id, page_size=3)
    )
    assert [one.number for one in listed.splits] == [4, 3, 2]
    rest = split_service_pb2.ListSplitsRequest(version_id=version.version_id, page_token=listed.next_page_token)
    assert [one.number for one in (await api.call(api.splits.ListSplits, rest)).splits] == [1]


async def test_a_revision_is_not_found_beside_ids_of_others(api, version, sources):
    split, other = await api.split(version.version_id), (await api.bring(sources.yolo(10), dataset="others")).version
    other_split = await api.split(other.version_id)
    mine = {"dataset_id": version.dataset_id, "version_id": version.version_id}
    for beside in ({}, mine, {"dataset_id": version.dataset_id}):
        request = split_service_pb2.GetSplitRequest(split_id=split.split_id, **beside)
        assert (await api.call(api.splits.GetSplit, request)).split == split
    for wrong in ({"dataset_id": other.dataset_id}, {"version_id": other.version_id}, {**mine, "dataset_id": new_id()}):
        request = split_service_pb2.GetSplitRequest(split_id=split.split_id, **wrong)
        assert (await refused(api.call(api.splits.GetSplit, request)))[0] is NOT_FOUND
        images = dataset_service_pb2.ListAssetsRequest(split_id=split.split_id, **wrong)
        assert (await refused(api.call(api.datasets.ListAssets, images)))[0] is NOT_FOUND
    images = dataset_service_pb2.ListAssetsRequest(split_id=other_split.split_id, **mine)
    assert (await refused(api.call(api.datasets.ListAssets, images)))[0] is NOT_FOUND
    revisions = split_service_pb2.ListSplitsRequest(dataset_id=other.dataset_id, version_id=version.version_id)
    assert (await refused(api.call(api.splits.ListSplits, revisions)))[0] is NOT_FOUND


async def test_a_request_id_makes_one_revision(api, version):
    made = await asyncio.gather(*(api.split(version.version_id, request_id="r") for _ in range(4)))
    assert {one.split_id for one in made} == {made[0].split_id}
    assert await refused(api.split(version.version_id, seed=1, request_id="r")) == invalid("request_id")


@pytest.mark.parametrize(
    ("ratios", "fields"),
    [
        ((0.7, 0.2, 0.2), ["parameters.ratios"]),
        ((-0.1, 0.6, 0.5), ["parameters.ratios.train"]),
        ((math.nan, 0.5, math.inf), ["parameters.ratios.train", "parameters.ratios.test"]),
        ((0, 0, 0), ["parameters.ratios"]),
        ((1.0000011, 0, 0), ["parameters.ratios.train"]),
    ],
)
async def test_ratios_that_are_none(api, ratios, fields):
    assert await refused(api.split(new_id(), ratios)) == invalid(*fields)


async def test_missing_parameters_and_unknown_versions(api):
    assert await refused(
        api.call(api.splits.CreateSplit, split_service_pb2.CreateSplitRequest(version_id=new_id()))
    ) == invalid("parameters")
    assert (await refused(api.split(new_id())))[:2] == (NOT_FOUND, "NOT_FOUND")
    assert await refused(api.split("x' OR 1=1 --")) == invalid("version_id")


async def test_a_draft_and_a_version_without_split(api, version):
    request = split_service_pb2.GetSplitRequest(version_id=version.version_id)
    assert await refused(api.call(api.splits.GetSplit, request)) == (PRECONDITION, "SPLIT_MISSING", ["version_id"])
    draft = await api.draft(version.dataset_id, base_version_id=version.version_id)
    assert await refused(api.split(draft.version_id)) == (PRECONDITION, "VERSION_STATE", ["version_id"])


async def test_nothing_labelled_cannot_be_split(api, sources):
    files = {path: data for path, data in sources.yolo(5).items() if not path.startswith("labels/")}
    version = (await api.bring(files)).version
    assert version.unlabelled_count == 5
    assert (await refused(api.split(version.version_id)))[:2] == (PRECONDITION, "SPLIT_EMPTY")


async def test_a_ratio_of_zero_stays_empty(api, version):
    made = await api.split(version.version_id, (0.5, 0.5, 0.0))
    assert [part.images for part in made.certificate.parts] == [27, 27, 0]


async def test_pinned_revisions_stay_and_numbers_are_not_used_again(api, version):
    first, second = await api.split(version.version_id), await api.split(version.version_id, seed=2)
    job = new_id()
    for _ in range(2):
        await api.as_service().call(
            api.staging.PinSplit, staging_service_pb2.PinSplitRequest(split_id=first.split_id, job_id=job)
        )
    request = split_service_pb2.DeleteSplitRequest(split_id=first.split_id)
    assert (await refused(api.call(api.splits.DeleteSplit, request)))[:2] == (PRECONDITION, "PINNED")
    await api.call(api.splits.DeleteSplit, split_service_pb2.DeleteSplitRequest(split_id=second.split_id))
    current = await api.call(api.splits.GetSplit, split_service_pb2.GetSplitRequest(version_id=version.version_id))
    assert current.split.split_id == first.split_id
    assert (await api.split(version.version_id)).number == 3
    request = staging_service_pb2.PinSplitRequest(split_id=second.split_id, job_id=job)
    assert (await refused(api.as_service().call(api.staging.PinSplit, request)))[:2] == (NOT_FOUND, "NOT_FOUND")


async def test_references_as_people_write_them(api, version):
    async def resolve(reference):
        request = dataset_service_pb2.ResolveVersionRequest(project_id=api.place.project, reference=reference)
        found = await api.call(api.datasets.ResolveVersion, request)
        return found.version.number, found.split_id

    assert await resolve("cells") == (1, "")
    first, second = await api.split(version.version_id), await api.split(version.version_id)
    assert (
        await resolve("cells") == await resolve("cells@v1") == await resolve(version.version_id) == (1, second.split_id)
    )
    assert await resolve("cells@v1#1") == (1, first.split_id)
    for missing in ("nuclei", "cells@v2", "cells@v1#3", new_id()):
        assert (await refused(resolve(missing)))[:2] == (NOT_FOUND, "NOT_FOUND")
    for wrong in ("", "cells#1", "cells@3", "cells@v0", "cells@v1#", "../cells", "cells@v99999999999999999999"):
        assert await refused(resolve(wrong)) == invalid("reference")


async def test_contamination_counts_equal_bytes_across_versions(api, sources, version):
    made = await api.split(version.version_id)

    async def overlap(split_id, part, trained):
        request = split_service_pb2.CheckContaminationRequest(split_id=split_id, part=part, trained_split_id=trained)
        found = await api.as_service().call(api.splits.CheckContamination, request)
        return found.images, found.overlap

    assert await overlap(made.split_id, TEST, made.split_id) == (8, 0)
    assert await overlap(made.split_id, VAL, made.split_id) == (8, 8)
    other = (await api.bring(sources.yolo(20, start=40), "others")).version
    everything = await api.split(other.version_id, (0, 0, 1))
    request = dataset_service_pb2.ListAssetsRequest(
        dataset_id=version.dataset_id, split_id=made.split_id, page_size=1000
    )
    trained = set()
    for part in (TRAIN, VAL):
        request.split = part
        trained |= {one.sha256 for one in (await api.call(api.datasets.ListAssets, request)).assets}
    shared = trained & {sha(data) for path, data in sources.yolo(20, start=40).items() if path.endswith(".jpg")}
    assert await overlap(everything.split_id, TEST, made.split_id) == (18, len(shared))
    assert await refused(overlap(made.split_id, 0, made.split_id)) == invalid("part")


async def test_a_training_attempt_stages_train_and_val_and_never_test(api, version):
    made = await api.split(version.version_id)
    training = api.as_attempt(made.split_id, "train", "val")
    entries, end = await manifest(training, made.split_id, TRAIN, VAL)
    assert (len(entries), end.image_count, list(end.class_names)) == (46, 46, list(version.class_names))
    assert [one.ordinal for one in entries] == sorted(one.ordinal for one in entries)
    assert {one.part for one in entries} == {TRAIN, VAL}
    assert end.part_digests == split_pb2.PartDigests(train=made.part_digests.train, val=made.part_digests.val)
    async with httpx.AsyncClient(trust_env=False) as client:
        for part, digest in ((TRAIN, end.part_digests.train), (VAL, end.part_digests.val)):
            rows = [one for one in entries if one.part == part]
            staged = [(await client.get(one.url)).content for one in rows]
            assert all(sha(data) == one.sha256 for data, one in zip(staged, rows, strict=True))
            annotated = hashes_from_bytes([annotation_sha256(one.packed_annotations) for one in rows])
            assert part_digest(hashes_from_bytes([bytes.fromhex(one.sha256) for one in rows]), annotated) == digest
    assert {one.extension for one in entries} == {".jpg"}
    rest, again = await manifest(training, made.split_id, TRAIN, VAL, after=entries[20].ordinal)
    assert [one.ordinal for one in rest] == [one.ordinal for one in entries[21:]]
    assert again == end
    for parts, split_id in [
        ((TEST,), made.split_id),
        ((TRAIN, VAL, TEST), made.split_id),
        ((TRAIN,), (await api.split(version.version_id)).split_id),
    ]:
        assert (await refused(manifest(training, split_id, *parts)))[:2] == (
            grpc.StatusCode.PERMISSION_DENIED,
            "ROLE_MISSING",
        )
    assert await refused(manifest(training, made.split_id)) == invalid("parts")
    assert (await refused(manifest(api, made.split_id, TRAIN)))[:2] == (
        grpc.StatusCode.PERMISSION_DENIED,
        "ROLE_MISSING",
    )
    evaluating, end = await manifest(api.as_attempt(made.split_id, "test"), made.split_id, TEST)
    assert {one.sha256 for one in evaluating}.isdisjoint(one.sha256 for one in entries)
    assert (len(evaluating), end.part_digests.test) == (8, made.part_digests.test)


async def test_deletions_at_once_do_not_trip_over_the_current_split(api, version):
    for _ in range(15):
        made = [await api.split(version.version_id) for _ in range(4)]
        requests = [split_service_pb2.DeleteSplitRequest(split_id=one.split_id) for one in reversed(made)]
        await asyncio.gather(*(api.call(api.splits.DeleteSplit, request) for request in requests))
    request = split_service_pb2.GetSplitRequest(dataset_id=version.dataset_id, version_id=version.version_id)
    assert (await refused(api.call(api.splits.GetSplit, request)))[:2] == (PRECONDITION, "SPLIT_MISSING")


async def test_crowded_images_come_in_small_messages(api, place, version):
    made = await api.split(version.version_id, (1, 0, 0))
    boxes = b"\x01" + b"\x00\x00\x01\x04\x00" + np.array([5, 5, 2, 2], dtype="<u4").tobytes()
    many = boxes + boxes[1:] * 3000
    place.execute("UPDATE version_asset SET annotations = %s", many)
    entries, _ = await manifest(api.as_attempt(made.split_id, "train"), made.split_id, TRAIN)
    assert len(entries) == 54
    request = dataset_service_pb2.ListAssetsRequest(
        dataset_id=version.dataset_id, include_annotations=True, page_size=1000
    )
    seen = []
    while True:
        page = await api.call(api.datasets.ListAssets, request)
        seen += [one.ordinal for one in page.assets]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == list(range(60))
    assert len(page.assets) < 60
