"""The images of a version: found by what they are, and shown small."""

import psycopg
import pytest
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2
from splitrail_common.database import Queries
from splitrail_common.ids import new_id

from .calls import INVALID, NOT_FOUND, TEST, assets_of, invalid, refused

pytestmark = pytest.mark.integration


async def test_images_by_folder_and_metadata(api, place, sources):
    files = {
        path.replace("images/", f"images/site{int(path[-5]) % 3}/") if path.endswith(".jpg") else path: data
        for path, data in sources.yolo(40).items()
    }
    files = {
        path.replace("labels/", f"labels/site{int(path[-5]) % 3}/") if path.endswith(".txt") else path: data
        for path, data in files.items()
    }
    version = (await api.bring(files)).version
    place.execute(
        """UPDATE version_asset SET metadata = jsonb_build_object('day', (ordinal %% 2)::text, 'odd=key', '%%', 'site', 'Ω')"""
    )
    paths = sorted(path for path in files if path.endswith(".jpg"))
    for size in (2, 1000):
        shown = await assets_of(api, version, path_prefix="images/site1/", page_size=size)
        assert [one.path for one in shown] == [path for path in paths if path.startswith("images/site1/")]
        odd = await assets_of(api, version, metadata=["day=1", "site=Ω"], page_size=size)
        assert [one.ordinal for one in odd] == list(range(1, 40, 2))
        assert dict(odd[0].metadata) == {"day": "1", "odd=key": "%", "site": "Ω"}
    both = await assets_of(
        api,
        version,
        metadata=["day=0"],
        path_prefix="images/site2",
        class_name="class1",
        label_state=dataset_pb2.LABEL_STATE_LABELLED,
        page_size=1,
    )
    expected = [
        one
        for one in await assets_of(api, version, class_name="class1")
        if one.path.startswith("images/site2/") and one.ordinal % 2 == 0
    ]
    assert [one.path for one in both] == [one.path for one in expected]
    assert expected
    await api.split(version.version_id)
    tested = await assets_of(api, version, split=TEST, metadata=["day=1"])
    assert {one.part for one in tested} == {TEST}
    assert {one.ordinal for one in tested} == {
        one.ordinal for one in await assets_of(api, version, split=TEST) if one.ordinal % 2
    }
    for nothing in (
        {"path_prefix": "%"},
        {"path_prefix": "images/SITE1"},
        {"metadata": ["day=2"]},
        {"metadata": ["Day=1"]},
    ):
        assert await assets_of(api, version, **nothing) == []


async def test_a_list_that_has_begun_stays_with_its_version_and_its_split(api, sources):
    version = (await api.bring(sources.yolo(20))).version
    first_split = await api.split(version.version_id)
    request = dataset_service_pb2.ListAssetsRequest(dataset_id=version.dataset_id, page_size=8)
    page = await api.call(api.datasets.ListAssets, request)
    shown = list(page.assets)
    draft = await api.draft(version.dataset_id, base_version_id=version.version_id)
    await api.remove(draft.version_id, paths=[one.path for one in shown[:5]])
    await api.commit(draft.version_id)
    await api.split(version.version_id, seed=7)
    while page.next_page_token:
        request.page_token = page.next_page_token
        page = await api.call(api.datasets.ListAssets, request)
        shown += page.assets
    whole = await assets_of(api, version, split_id=first_split.split_id)
    assert [(one.ordinal, one.path, one.part) for one in shown] == [(one.ordinal, one.path, one.part) for one in whole]
    for field in ("version_id", "split_id"):
        other = dataset_service_pb2.ListAssetsRequest(
            **{"dataset_id": version.dataset_id, "page_token": request.page_token, field: draft.version_id}
        )
        assert await refused(api.call(api.datasets.ListAssets, other)) == invalid("page_token")


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"metadata": ["day"]}, "metadata[0]"),
        ({"metadata": ["a=1", "=1"]}, "metadata[1]"),
        ({"metadata": ["a=1", "a=2"]}, "metadata[1]"),
        ({"metadata": ["a=\0"]}, "metadata[0]"),
        ({"metadata": [f"k{n}=1" for n in range(17)]}, "metadata"),
        ({"path_prefix": "x" * 1025}, "path_prefix"),
        ({"path_prefix": "\0"}, "path_prefix"),
    ],
)
async def test_filters_that_cannot_be_meant(api, version, filters, field):
    assert await refused(assets_of(api, version, **filters)) == invalid(field)


async def test_thumbnails_are_for_those_who_see_the_dataset(api, place, sources, version):
    other = (await api.bring(sources.yolo(3, start=100), "others")).version
    first, foreign = (await assets_of(api, version))[0], (await assets_of(api, other))[0]

    async def thumbnail(caller, dataset_id, sha256):
        request = dataset_service_pb2.GetThumbnailRequest(dataset_id=dataset_id, sha256=sha256)
        call = caller.datasets.GetThumbnail(request, metadata=caller.metadata, timeout=30)
        return dict(await call.initial_metadata()), await call

    metadata, body = await thumbnail(api.as_user(**{place.project: "viewer"}), version.dataset_id, first.sha256)
    assert (body.content_type, body.data[:2]) == ("image/jpeg", b"\xff\xd8")
    assert metadata["cache-control"] == "private, max-age=31536000, immutable"
    for caller, dataset_id, sha256, code in [
        (api, version.dataset_id, foreign.sha256, NOT_FOUND),
        (api, new_id(), first.sha256, NOT_FOUND),
        (api, version.dataset_id, "0" * 64, NOT_FOUND),
        (api, version.dataset_id, first.sha256.upper() + "/", INVALID),
        (api.as_user(elsewhere="admin"), version.dataset_id, first.sha256, NOT_FOUND),
    ]:
        assert (await refused(thumbnail(caller, dataset_id, sha256)))[0] is code


async def test_images_are_found_by_their_key_while_statistics_lack_their_version(api, place, sources):
    """Going over all paths of a version for each page took seconds right after a million images had come in."""
    grow = """
        INSERT INTO version_asset
        SELECT version_id, n, sha256, path || n, width, height, size_bytes, format, label_state, annotations, external_id, metadata
        FROM version_asset, generate_series(10, 20000) AS n WHERE version_id = %s AND ordinal = 0"""
    place.execute(grow, (await api.bring(sources.yolo(5))).version.version_id)
    place.execute("ANALYZE version_asset")
    version = (await api.bring(sources.yolo(6))).version
    place.execute(grow, version.version_id)
    parameters = {
        "version_id": version.version_id,
        "ordinals": list(range(1000)),
        "annotations": True,
        "after": 0,
        "limit": 1000,
    }
    for query in ("get_assets", "page_assets"):
        with psycopg.connect(place.dsn) as connection:
            plan = "\n".join(
                row[0]
                for row in connection.execute(f"EXPLAIN {Queries('splitrail_split.datasets')[query]}", parameters)
            )
        assert "version_asset_pkey" in plan, plan
        assert "version_asset_path" not in plan, plan
