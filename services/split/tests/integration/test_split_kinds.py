"""Groups, sticky and pinned splits, folds, previews, comparisons and leaks over the RPCs."""

import io

import pytest
from PIL import Image
from splitrail.split.v1 import dataset_service_pb2, split_pb2, split_service_pb2
from splitrail_common.ids import new_id

from .calls import NOT_FOUND, PRECONDITION, TEST, TRAIN, VAL, assets_of, invalid, refused

pytestmark = pytest.mark.integration
RATIOS = split_pb2.SplitRatios(train=0.6, val=0.2, test=0.2)


def noise(seed: int, quality: int = 95) -> bytes:
    """A picture that looks like no other seed's; another quality gives other bytes that look the same."""
    target = io.BytesIO()
    small = Image.new("RGB", (9, 9))
    small.putdata(
        [
            ((seed * 7919 + i * i * 31 + i * seed * 13) % 256, (seed * 104729 + i * 97) % 256, (i * 57 + seed) % 256)
            for i in range(81)
        ]
    )
    small.resize((96, 96), Image.Resampling.BICUBIC).save(target, "JPEG", quality=quality)
    return target.getvalue()


def yolo(count: int, folders: int = 6, start: int = 0) -> dict[str, bytes]:
    """`count` labelled images in `folders` folders, called clip<folder>_<number>."""
    files = {"data.yaml": b"names: [one, two, three]\n"}
    for index in range(start, start + count):
        name = f"images/p{index % folders}/clip{index % folders}_{index // folders}"
        files[f"{name}.jpg"] = noise(index)
        files[f"{name.replace('images', 'labels', 1)}.txt"] = f"{index % 3} 0.5 0.5 0.2 0.2\n".encode()
    return files


async def create(api, version_id, **parameters):
    asked = split_pb2.SplitParameters(**{"ratios": RATIOS, "seed": 7, **parameters})
    request = split_service_pb2.CreateSplitRequest(version_id=version_id, parameters=asked)
    return (await api.call(api.splits.CreateSplit, request)).split


async def parts(api, version, split_id):
    """Path -> part."""
    request = dataset_service_pb2.ListAssetsRequest(
        dataset_id=version.dataset_id,
        version_id=version.version_id,
        split_id=split_id,
        page_size=1000,
        include_annotations=False,
    )
    return {one.path: one.part for one in (await api.call(api.datasets.ListAssets, request)).assets}


@pytest.fixture
async def version(api):
    return (await api.bring(yolo(60))).version


@pytest.mark.parametrize(
    "by",
    [
        split_pb2.GroupBy(folder=True),
        split_pb2.GroupBy(filename_pattern=r"^(.+)_\d+$"),
        split_pb2.GroupBy(filename_pattern=r"clip\d+"),
    ],
    ids=["folder", "pattern with a group", "pattern"],
)
async def test_groups_stay_together(api, version, by):
    made = await create(api, version.version_id, group_by=[by])
    assert (made.certificate.group_count, made.certificate.parted_groups) == (6, 0)
    assert made.parameters.group_by == [by]
    found = {}
    for path, part in (await parts(api, version, made.split_id)).items():
        assert found.setdefault(path.split("/")[1], part) == part
    assert set(found.values()) == {TRAIN, VAL, TEST}


async def test_images_that_a_rule_says_nothing_of_are_counted(api, place, version):
    place.execute('UPDATE version_asset SET metadata = \'{"site": "north"}\' WHERE ordinal < 59')
    rules = [
        split_pb2.GroupBy(filename_pattern=r"^clip[0-4]"),
        split_pb2.GroupBy(metadata_key="site"),
        split_pb2.GroupBy(near_duplicate_distance=0),
    ]
    made = await create(api, version.version_id, group_by=rules)
    assert (
        "without a match of the pattern '^clip[0-4]' in their names, so in no group by it: 10 images"
        in made.certificate.findings
    )
    assert "without metadata 'site', so in no group by it: 1 image" in made.certificate.findings
    assert not any("near" in one for one in made.certificate.findings)


async def test_bad_groups_are_named(api, version):
    bad = [
        (split_pb2.GroupBy(filename_pattern="(["), "parameters.group_by[0].filename_pattern"),
        (split_pb2.GroupBy(filename_pattern="^scene"), "parameters.group_by[0].filename_pattern"),
        (split_pb2.GroupBy(metadata_key="site"), "parameters.group_by[0].metadata_key"),
        (split_pb2.GroupBy(near_duplicate_distance=7), "parameters.group_by[0].near_duplicate_distance"),
        (split_pb2.GroupBy(), "parameters.group_by[0]"),
    ]
    for by, field in bad:
        assert await refused(create(api, version.version_id, group_by=[by])) == invalid(field)
    assert await refused(create(api, version.version_id, group_by=[split_pb2.GroupBy(folder=True)] * 9)) == invalid(
        "parameters.group_by"
    )
    hashed = {"method": split_pb2.SPLIT_METHOD_HASH, "group_by": [split_pb2.GroupBy(folder=True)]}
    assert await refused(create(api, version.version_id, **hashed)) == invalid("parameters.group_by")


async def test_a_later_version_keeps_what_an_earlier_split_decided(api, version):
    base = await create(api, version.version_id)
    later = (await api.bring(yolo(90))).version
    made = await create(api, later.version_id, base_split_id=base.split_id)
    before, now = await parts(api, version, base.split_id), await parts(api, later, made.split_id)
    assert all(now[path] == part for path, part in before.items())
    assert made.certificate.kept_images == 60
    assert [part.images for part in made.certificate.parts] == [54, 18, 18]
    compared = await api.call(
        api.splits.CompareSplits,
        split_service_pb2.CompareSplitsRequest(split_id=made.split_id, before_split_id=base.split_id, page_size=1000),
    )
    moves = {(move.before, move.now): move.images for move in compared.moves}
    assert {pair for pair in moves if pair[0] and pair[0] != pair[1]} == set()
    assert sum(images for (before_part, _), images in moves.items() if not before_part) == 30
    assert len(compared.assets) == 30
    assert {one.before for one in compared.assets} == {0}


async def test_a_newcomer_linked_to_a_test_image_goes_to_test(api, version):
    base = await create(api, version.version_id)
    test = next(path for path, part in (await parts(api, version, base.split_id)).items() if part == TEST)
    files = yolo(60)
    twin = noise(int(test.rpartition("_")[2].removesuffix(".jpg")) * 6 + int(test.split("/")[1][1:]), quality=80)
    files["images/new.jpg"], files["labels/new.txt"] = twin, b"0 0.5 0.5 0.2 0.2\n"
    later = (await api.bring(files)).version
    made = await create(
        api, later.version_id, base_split_id=base.split_id, group_by=[split_pb2.GroupBy(near_duplicate_distance=4)]
    )
    assert (await parts(api, later, made.split_id))["images/new.jpg"] == TEST


async def test_bases_must_be_of_the_dataset(api, version):
    assert await refused(create(api, version.version_id, base_split_id="x")) == invalid("parameters.base_split_id")
    assert (await refused(create(api, version.version_id, base_split_id=new_id())))[0] is NOT_FOUND
    other = (await api.bring(yolo(12), dataset="others")).version
    foreign = await create(api, other.version_id)
    assert await refused(create(api, version.version_id, base_split_id=foreign.split_id)) == invalid(
        "parameters.base_split_id"
    )


async def test_pins_decide(api, version):
    where = await parts(api, version, "")
    first, second = sorted(where)[:2]
    pins = [split_pb2.Pin(path=first, part=TEST), split_pb2.Pin(path=second, part=VAL)]
    made = await create(api, version.version_id, pins=pins)
    now = await parts(api, version, made.split_id)
    assert (now[first], now[second]) == (TEST, VAL)
    assert made.parameters.pins == pins
    assert [part.images for part in made.certificate.parts] == [36, 12, 12]
    absent = [split_pb2.Pin(path="nowhere.jpg", part=TEST)]
    assert await refused(create(api, version.version_id, pins=absent)) == invalid("parameters.pins[0].path")
    twice = [*pins, split_pb2.Pin(path=first, part=TRAIN)]
    assert await refused(create(api, version.version_id, pins=twice)) == invalid("parameters.pins[2]")


async def test_groups_that_pins_part_are_named(api, version):
    first, second = sorted(path for path in await parts(api, version, "") if "/p0/" in path)[:2]
    pins = [split_pb2.Pin(path=first, part=TRAIN), split_pb2.Pin(path=second, part=TEST)]
    made = await create(api, version.version_id, pins=pins, group_by=[split_pb2.GroupBy(folder=True)])
    assert made.certificate.parted_groups == 1
    assert any("in several parts" in finding for finding in made.certificate.findings)


async def test_folds(api, version):
    made = [await create(api, version.version_id, folds=split_pb2.Folds(count=4, index=index)) for index in range(4)]
    where = [await parts(api, version, one.split_id) for one in made]
    tests = [{path for path, part in one.items() if part == TEST} for one in where]
    assert all(one == tests[0] for one in tests)
    assert len(tests[0]) == 12
    vals = [{path for path, part in one.items() if part == VAL} for one in where]
    assert sorted(path for one in vals for path in one) == sorted(set(where[0]) - tests[0])
    assert made[0].parameters.ratios.val == pytest.approx(0.2)
    assert await refused(create(api, version.version_id, folds=split_pb2.Folds(count=1))) == invalid(
        "parameters.folds.count"
    )
    assert await refused(create(api, version.version_id, folds=split_pb2.Folds(count=3, index=3))) == invalid(
        "parameters.folds.index"
    )


async def test_a_preview_is_what_would_be_stored_and_stores_nothing(api, version):
    asked = split_pb2.SplitParameters(ratios=RATIOS, seed=3)
    request = split_service_pb2.PreviewSplitRequest(version_id=version.version_id, parameters=asked)
    seen = (await api.call(api.splits.PreviewSplit, request)).split
    assert (seen.split_id, seen.number) == ("", 0)
    assert not (
        await api.call(api.splits.ListSplits, split_service_pb2.ListSplitsRequest(version_id=version.version_id))
    ).splits
    made = await create(api, version.version_id, seed=3)
    assert (made.digest, made.certificate, made.parameters) == (seen.digest, seen.certificate, seen.parameters)


async def test_a_revision_can_leave_the_current_one(api, version):
    first = await create(api, version.version_id)
    request = split_service_pb2.CreateSplitRequest(
        version_id=version.version_id, parameters=split_pb2.SplitParameters(ratios=RATIOS, seed=9), keep_current=True
    )
    await api.call(api.splits.CreateSplit, request)
    found = await api.call(api.splits.GetSplit, split_service_pb2.GetSplitRequest(version_id=version.version_id))
    assert found.split.split_id == first.split_id


async def test_leaks_are_counted_paged_and_avoided_by_grouping(api):
    files = yolo(30, folders=3)
    for index in range(12):
        files[f"images/again/{index}.jpg"] = noise(index, quality=85)
        files[f"labels/again/{index}.txt"] = b"0 0.5 0.5 0.2 0.2\n"
    version = (await api.bring(files)).version
    made = await create(api, version.version_id, method=split_pb2.SPLIT_METHOD_RANDOM)
    leaking = sum(made.certificate.near_duplicate_pairs)
    assert 0 < leaking <= 12
    pairs, token = [], ""
    while True:
        page = await api.call(
            api.splits.FindLeaks,
            split_service_pb2.FindLeaksRequest(split_id=made.split_id, page_size=2, page_token=token),
        )
        pairs += page.leaks
        token = page.next_page_token
        if not token:
            break
    assert len(pairs) == leaking
    assert [pair.distance for pair in pairs] == sorted(pair.distance for pair in pairs)
    assert all(pair.first.part != pair.second.part and pair.first.url and pair.second.url for pair in pairs)
    grouped = await create(api, version.version_id, group_by=[split_pb2.GroupBy(near_duplicate_distance=6)])
    assert sum(grouped.certificate.near_duplicate_pairs) == 0
    assert grouped.certificate.group_count == 12
    assert not any("cluster" in finding for finding in [*made.certificate.findings, *grouped.certificate.findings])
    assert grouped.certificate.duplicate_pairs == 0
    frames = made.certificate.frame_pairs
    assert frames >= 27
    assert 0 < made.certificate.neighbour_frame_pairs <= frames


async def test_the_parts_of_a_source_are_revision_one(api):
    files = {"data.yaml": b"names: [one]\n"}
    for index in range(12):
        part = ("train", "train", "valid", "test")[index % 4]
        files[f"{part}/images/{index}.jpg"] = noise(index)
        files[f"{part}/labels/{index}.txt"] = b"0 0.5 0.5 0.2 0.2\n"
    ended = await api.bring(files, request_id="parted")
    version = ended.version
    assert [(p.code, p.note) for p in ended.problems] == [("split_found", True)]
    assert "(train 6, val 3, test 3)" in ended.problems[0].message
    found = (
        await api.call(api.splits.GetSplit, split_service_pb2.GetSplitRequest(version_id=version.version_id))
    ).split
    assert (found.number, found.parameters.method) == (1, split_pb2.SPLIT_METHOD_IMPORTED)
    assert [part.images for part in found.certificate.parts] == [6, 3, 3]
    where = await parts(api, version, found.split_id)
    assert all(
        (path.startswith("valid"), path.startswith("test")) == (part == VAL, part == TEST)
        for path, part in where.items()
    )
    assert await refused(create(api, version.version_id, method=split_pb2.SPLIT_METHOD_IMPORTED)) == invalid(
        "parameters.method"
    )
    # Once they are deleted, the same source brings them again, in a version of the same digest.
    assert (await api.open(request_id="parted")).import_id == ended.import_id
    await api.call(api.splits.DeleteSplit, split_service_pb2.DeleteSplitRequest(split_id=found.split_id))
    again = (await api.bring(files, request_id="parted")).version
    assert (again.number, again.digest) == (2, version.digest)
    assert again.current_split_id


@pytest.mark.parametrize("size", [2, 1000])
async def test_images_of_one_group(api, place, version, size):
    place.execute(
        "UPDATE version_asset SET metadata = jsonb_build_object('site', (ordinal / 7)::text) WHERE ordinal < 28"
    )
    rules = {
        "folder": ({"folder": True}, lambda one: one.path.rpartition("/")[0]),
        "pattern": ({"filename_pattern": r"clip(\d)"}, lambda one: one.path.rpartition("clip")[2][0]),
        "metadata": ({"metadata_key": "site"}, lambda one: one.metadata.get("site", one.path)),
        "alike": ({"near_duplicate_distance": 0}, lambda one: one.path),
    }
    for rule, key in rules.values():
        split = await create(api, version.version_id, group_by=[split_pb2.GroupBy(**rule)])
        shown = await assets_of(api, version, split_id=split.split_id, include_groups=True, page_size=size)
        assert [one.ordinal for one in shown] == list(range(version.image_count))
        first = {}
        for one in shown:
            assert one.group == first.setdefault(key(one), one.ordinal)
        for member in (shown[0], shown[9], shown[-1]):
            group = await assets_of(api, version, split_id=split.split_id, group=member.ordinal, page_size=size)
            assert [one.ordinal for one in group] == [one.ordinal for one in shown if one.group == member.group]
            assert {one.group for one in group} == {member.group}
            assert len({one.part for one in group}) == 1
    assert not any(one.HasField("group") for one in await assets_of(api, version, split_id=split.split_id))


async def test_a_group_together_with_other_filters_and_rules(api, place, version):
    place.execute(
        """UPDATE version_asset SET metadata = '{"day": "1"}' WHERE path LIKE '%%/p0/%%' OR path LIKE '%%/p1/%%'"""
    )
    rules = [split_pb2.GroupBy(folder=True), split_pb2.GroupBy(metadata_key="day")]
    await create(api, version.version_id, group_by=rules)
    both = await assets_of(api, version, group=1)  # two folders that the second rule joins
    assert {one.path.split("/")[1] for one in both} == {"p0", "p1"}
    narrowed = await assets_of(api, version, group=1, path_prefix="images/p1/", class_name="two", page_size=1)
    assert [one.path for one in narrowed] == [
        one.path for one in await assets_of(api, version, path_prefix="images/p1/", class_name="two")
    ]
    assert narrowed
    assert await assets_of(api, version, group=1, path_prefix="images/p2/") == []


async def test_groups_that_are_none(api, version):
    assert await refused(assets_of(api, version, group=0)) == (PRECONDITION, "SPLIT_MISSING", ["version_id"])
    plain = await create(api, version.version_id)
    assert await refused(assets_of(api, version, group=0)) == invalid("group")
    assert await refused(assets_of(api, version, include_groups=True, split_id=plain.split_id)) == invalid(
        "include_groups"
    )
    made = await create(api, version.version_id, group_by=[split_pb2.GroupBy(folder=True)])
    assert await refused(assets_of(api, version, group=version.image_count)) == invalid("group")
    assert await refused(assets_of(api, version, group=2**31 - 1, split_id=made.split_id)) == invalid("group")
    assert await refused(assets_of(api, version, group=0, split_id=new_id())) == (NOT_FOUND, "NOT_FOUND", [])
