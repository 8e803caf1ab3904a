"""Use cases of datasets and versions: find, list, resolve what people write, page through images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from splitrail_common import ids
from splitrail_common.access import Scope
from splitrail_common.errors import PlatformError, Reason, Violation, invalid, not_found, precondition

from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import PART_NAMES, Asset, Dataset, Version, VersionState, parse_reference
from splitrail_split.splits.inputs import SplitInputs
from splitrail_split.splits.store import SplitStore


@dataclass(frozen=True, slots=True)
class AssetQuery:
    """Which images of a version. Empty strings and zeros do not filter."""

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


@dataclass(frozen=True, slots=True)
class AssetPage:
    """Images, the part of each (0: none, or no split) and the first ordinal of its group (None: not asked for); `more` when others follow.

    split_id: the revision that this is true of; empty without one.
    """

    version: Version
    split_id: str
    assets: list[Asset]
    parts: list[int]
    groups: Sequence[int | None]
    more: bool


class Datasets:
    """What callers do with datasets and versions."""

    def __init__(self, store: DatasetStore, splits: SplitStore) -> None:
        self._store = store
        self._splits = splits
        self._inputs = SplitInputs(splits, store)

    async def dataset(self, scope: Scope, dataset_id: str) -> Dataset:
        """By id. Raises NOT_FOUND."""
        found = await self._store.get_dataset(scope, dataset_id)
        if found is None:
            raise not_found("dataset", dataset_id)
        return found

    async def datasets(self, scope: Scope, *, project_id: str, name: str, external_id: str, before: str | None, limit: int) -> list[Dataset]:
        """Newest first; up to `limit`. Raises NOT_FOUND for a project that the caller cannot see."""
        if project_id:
            scope.require(project_id)
        return await self._store.list_datasets(scope, project_id=project_id, name=name, external_id=external_id, before=before, limit=limit)

    async def version(self, scope: Scope, dataset_id: str, version_id: str) -> Version:
        """By id, within its dataset (empty: any). Raises NOT_FOUND."""
        found = await self._store.get_version(scope, version_id)
        if found is None or (dataset_id and found.dataset_id != dataset_id):
            raise not_found("version", version_id)
        return found

    async def versions(self, scope: Scope, dataset_id: str, before: int | None, limit: int) -> list[Version]:
        """Newest first; up to `limit`. Raises NOT_FOUND for the dataset."""
        await self.dataset(scope, dataset_id)
        return await self._store.list_versions(dataset_id, before=before, limit=limit)

    async def newest(self, scope: Scope, dataset_id: str) -> Version:
        """The newest committed version. Raises NOT_FOUND."""
        dataset = await self.dataset(scope, dataset_id)
        found = await self._store.find_version(dataset_id, 0)
        if found is None:
            raise not_found("version", f"{dataset.name}@v1")
        return found

    async def resolve(self, scope: Scope, project_id: str, reference: str) -> tuple[Version, str]:
        """The version, and the split revision or "", that a reference or a version's id means. Raises INVALID_ARGUMENT, NOT_FOUND."""
        if ids.is_uuid(reference):
            version = await self.version(scope, "", reference)
            return version, version.current_split_id or ""
        wanted = parse_reference(reference)
        if wanted is None:
            shown = repr(reference[:100])
            raise invalid(Violation("reference", f"{shown} is none of: name, name@v3, name@v3#2 (version 3, split 2), or a version's id"))
        scope.require(project_id)
        dataset = await self._store.find_dataset(scope, project_id, wanted.name)
        if dataset is None:
            raise not_found("dataset", wanted.name)
        found = await self._store.find_version(dataset.dataset_id, wanted.version)
        if found is None:
            raise not_found("version", f"{wanted.name}@v{wanted.version or 1}")
        if not wanted.split:
            return found, found.current_split_id or ""
        split_id = await self._splits.find_by_number(found.version_id, wanted.split)
        if split_id is None:
            raise not_found("split", reference)
        return found, split_id

    async def assets(self, scope: Scope, version: Version, query: AssetQuery) -> AssetPage:
        """A page of images by ordinal. Filters read the version's packed columns, so a page costs the same at any depth; those of path and metadata
        read rows, from the last page's end on.

        Raises NOT_FOUND for the split, FAILED_PRECONDITION (VERSION_STATE, SPLIT_MISSING), INVALID_ARGUMENT for the class or the group.
        """
        require_committed(version)
        vector = await self._vector(scope, version, query)
        first_of_group = await self._first_of_group(scope, version, query)
        chosen = await self._chosen(version, query, vector, first_of_group)
        if query.path_prefix or query.metadata:
            assets = await self._store.search_assets(
                version.version_id,
                after=query.after,
                limit=query.limit + 1,
                annotations=query.annotations,
                path_prefix=query.path_prefix,
                metadata=query.metadata,
                chosen=chosen,
            )
        elif chosen is None:
            assets = await self._store.page_assets(version.version_id, after=query.after, limit=query.limit + 1, annotations=query.annotations)
        else:
            found = np.flatnonzero(chosen)
            start = int(np.searchsorted(found, query.after, side="right"))
            ordinals = found[start : start + query.limit + 1]
            assets = await self._store.get_assets(version.version_id, ordinals, annotations=query.annotations)
        page = assets[: query.limit]
        parts = [int(vector[asset.ordinal]) for asset in page] if vector is not None else [0] * len(page)
        groups = [None if first_of_group is None else int(first_of_group[asset.ordinal]) for asset in page]
        return AssetPage(version, _split_of(version, query), page, parts, groups, len(assets) > query.limit)

    async def _vector(self, scope: Scope, version: Version, query: AssetQuery) -> npt.NDArray[np.uint8] | None:
        split_id = _split_of(version, query)
        if not split_id:
            if query.part or query.group is not None or query.groups:
                raise split_missing(version)
            return None
        if split_id != version.current_split_id:  # which is known to be the version's
            revision = await self._splits.get(scope, split_id)
            if revision is None or revision.version_id != version.version_id:
                raise not_found("split", split_id)
        return await self._store.vector(split_id)

    async def _first_of_group(self, scope: Scope, version: Version, query: AssetQuery) -> arrays.Array | None:
        """(N,) the first ordinal of each image's group in the revision; None when nobody asks for groups."""
        field = "group" if query.group is not None else "include_groups" if query.groups else ""
        if not field:
            return None
        split_id = _split_of(version, query)
        revision = await self._splits.get(scope, split_id)
        if revision is None:
            raise not_found("split", split_id)
        if not revision.parameters.group_by:
            raise invalid(Violation(field, f"{revision.reference} was made without group_by: its images are in no groups"))
        if query.group is not None and query.group >= version.image_count:
            raise invalid(Violation(field, f"{version.reference} has no image {query.group}: ordinals end at {version.image_count - 1}"))
        return await self._inputs.first_of_group(version, revision)

    async def _chosen(
        self, version: Version, query: AssetQuery, vector: npt.NDArray[np.uint8] | None, first_of_group: arrays.Array | None
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


def _split_of(version: Version, query: AssetQuery) -> str:
    """The id of the revision that a query is about; empty without one."""
    return (version.current_split_id or "") if query.split_id is None else query.split_id


def require_committed(version: Version, field: str = "version_id") -> None:
    """Raises FAILED_PRECONDITION (VERSION_STATE) for a draft."""
    if version.state != VersionState.COMMITTED:
        raise precondition(Reason.ERROR_REASON_VERSION_STATE, f"{version.reference} is a draft: commit it first", field=field)


def split_missing(version: Version) -> PlatformError:
    """The version has no split revision."""
    how = f"create one with ratios for {', '.join(PART_NAMES)}"
    return precondition(Reason.ERROR_REASON_SPLIT_MISSING, f"{version.reference} has no split: {how}", field="version_id")
