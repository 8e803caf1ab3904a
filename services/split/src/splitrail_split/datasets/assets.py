"""Use case: page through the images of a version, filtered by what they are, hold and belong to."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from splitrail_common.access import Scope
from splitrail_common.errors import Violation, invalid
from splitrail_common.paging import Page

from splitrail_split.contents.urls import SHOWN_LIFETIME, AssetUrls
from splitrail_split.datasets.conditions import require_committed, split_missing
from splitrail_split.datasets.service import Datasets
from splitrail_split.datasets.splits import VersionSplits
from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Asset, Version


@dataclass(frozen=True, slots=True)
class AssetQuery:
    """Which images of a version. Empty strings and zeros do not filter."""

    dataset_id: str
    version_id: str
    """Empty: the newest version of the dataset."""
    split_id: str | None
    """None: the version's current one, if there is one. Empty: none."""
    part: int
    class_name: str
    label_state: int
    path_prefix: str
    metadata: Mapping[str, str]
    annotations: bool
    after: int
    limit: int
    group: int | None = None
    """An ordinal: images of the group that this one is in."""
    groups: bool = False
    """Say of each image which group it is in."""
    urls: bool = False
    """Sign an address for each image."""


@dataclass(frozen=True, slots=True)
class ShownAsset:
    """An image, its part (0: none, or no split), the first ordinal of its group (None: not asked for) and its address
    (empty: not asked for).
    """

    asset: Asset
    part: int
    group: int | None
    url: str


@dataclass(frozen=True, slots=True)
class AssetPage:
    """Some images of a version. split_id: the revision by which they have their parts; empty without one."""

    version_id: str
    split_id: str
    assets: Page[ShownAsset]


class Assets:
    """The images of versions."""

    def __init__(self, store: DatasetStore, datasets: Datasets, splits: VersionSplits, urls: AssetUrls) -> None:
        self._store = store
        self._datasets = datasets
        self._splits = splits
        self._urls = urls

    async def page(self, scope: Scope, query: AssetQuery) -> AssetPage:
        """A page of images by ordinal. Filters read the version's packed columns, so a page costs the same at any
        depth; those of path and metadata read rows, from the last page's end on.

        Raises NOT_FOUND, FAILED_PRECONDITION (VERSION_STATE, SPLIT_MISSING), INVALID_ARGUMENT for the class or the
        group.
        """
        if query.version_id:
            version = await self._datasets.version(scope, query.dataset_id, query.version_id)
        else:
            version = await self._datasets.newest(scope, query.dataset_id)
        require_committed(version)
        split_id = (version.current_split_id or "") if query.split_id is None else query.split_id
        vector = await self._vector(scope, version, split_id, query)
        first_of_group = await self._first_of_group(scope, version, split_id, query)
        found = await self._found(version, query, await self._chosen(version, query, vector, first_of_group))
        page = found[: query.limit]
        urls = (
            await self._urls.sign(version.project_id, [asset.sha256 for asset in page], SHOWN_LIFETIME)
            if query.urls
            else [""] * len(page)
        )
        shown = [
            ShownAsset(
                asset,
                0 if vector is None else int(vector[asset.ordinal]),
                None if first_of_group is None else int(first_of_group[asset.ordinal]),
                url,
            )
            for asset, url in zip(page, urls, strict=True)
        ]
        return AssetPage(version.version_id, split_id, Page(shown, len(found) > query.limit))

    async def _found(self, version: Version, query: AssetQuery, chosen: npt.NDArray[np.bool_] | None) -> list[Asset]:
        """One image more than the page holds, if there is one. chosen (N,): only these."""
        limit = query.limit + 1
        if query.path_prefix or query.metadata:
            return await self._store.search_assets(
                version.version_id,
                after=query.after,
                limit=limit,
                annotations=query.annotations,
                path_prefix=query.path_prefix,
                metadata=query.metadata,
                chosen=chosen,
            )
        if chosen is None:
            return await self._store.page_assets(
                version.version_id, after=query.after, limit=limit, annotations=query.annotations
            )
        ordinals = np.flatnonzero(chosen)
        start = int(np.searchsorted(ordinals, query.after, side="right"))
        return await self._store.get_assets(
            version.version_id, ordinals[start : start + limit], annotations=query.annotations
        )

    async def _vector(
        self, scope: Scope, version: Version, split_id: str, query: AssetQuery
    ) -> npt.NDArray[np.uint8] | None:
        if split_id:
            return await self._splits.vector(scope, version, split_id)
        if query.part or query.group is not None or query.groups:
            raise split_missing(version)
        return None

    async def _first_of_group(
        self, scope: Scope, version: Version, split_id: str, query: AssetQuery
    ) -> arrays.Array | None:
        """(N,) the first ordinal of each image's group in the revision; None when groups were not asked for."""
        field = "group" if query.group is not None else "include_groups" if query.groups else ""
        if not field:
            return None
        if query.group is not None and query.group >= version.image_count:
            raise invalid(
                Violation(
                    field, f"{version.reference} has no image {query.group}: ordinals end at {version.image_count - 1}"
                )
            )
        return await self._splits.first_of_group(scope, version, split_id, field)

    async def _chosen(
        self,
        version: Version,
        query: AssetQuery,
        vector: npt.NDArray[np.uint8] | None,
        first_of_group: arrays.Array | None,
    ) -> npt.NDArray[np.bool_] | None:
        """(N,) the images that pass the filters of packed columns; None without such filters."""
        masks: list[npt.NDArray[np.bool_]] = []
        if query.group is not None and first_of_group is not None:
            masks.append(first_of_group == first_of_group[query.group])
        if query.part and vector is not None:
            masks.append(vector == query.part)
        if query.label_state:
            masks.append(await self._store.array(version.version_id, arrays.LABEL_STATE) == query.label_state)
        if query.class_name:
            if query.class_name not in version.class_names:
                raise invalid(Violation("class_name", f"{version.reference} has no class {query.class_name[:100]!r}"))
            labels = await self._store.labels(version.version_id)
            masks.append(arrays.images_with_class(labels, version.class_names.index(query.class_name)))
        return np.logical_and.reduce(masks) if masks else None
