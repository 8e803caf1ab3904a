"""Use cases of split revisions: make, find, pin, delete, compare by content."""

import asyncio

import numpy as np
import numpy.typing as npt
from splitrail_common.access import Scope
from splitrail_common.errors import Reason, not_found, precondition
from splitrail_common.paging import Page
from splitrail_common.repeats import RequestKey

from splitrail_split.contents.urls import SHOWN_LIFETIME, AssetUrls
from splitrail_split.datasets.conditions import require_committed, split_missing
from splitrail_split.datasets.service import Datasets
from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Version
from splitrail_split.domain.parts import PARTS
from splitrail_split.projects.service import Projects
from splitrail_split.splits import leaks
from splitrail_split.splits.algorithm.stratify import SPLITS
from splitrail_split.splits.domain import (
    Leak,
    LeakedAsset,
    MadeRevision,
    MovedAsset,
    Overlap,
    Revision,
    SplitComparison,
    SplitParameters,
)
from splitrail_split.splits.inputs import SplitInputs
from splitrail_split.splits.revision import make_revision
from splitrail_split.splits.store import RequestKnownError, SplitStore


class Splits:
    """What callers do with split revisions."""

    def __init__(
        self,
        store: SplitStore,
        *,
        dataset_store: DatasetStore,
        projects: Projects,
        datasets: Datasets,
        inputs: SplitInputs,
        urls: AssetUrls,
    ) -> None:
        self._store = store
        self._projects = projects
        self._columns = dataset_store
        self._datasets = datasets
        self._inputs = inputs
        self._urls = urls

    async def create(
        self,
        scope: Scope,
        dataset_id: str,
        version_id: str,
        parameters: SplitParameters,
        key: RequestKey,
        *,
        keep_current: bool,
    ) -> Revision:
        """Splits a version and makes the revision the current one, unless that is to be kept; the same request gives
        the same revision.

        Raises NOT_FOUND, FAILED_PRECONDITION (VERSION_STATE, SPLIT_EMPTY, PROJECT_ARCHIVED), INVALID_ARGUMENT, also
        when the request_id belongs to another request.
        """
        version = await self._datasets.version(scope, dataset_id, version_id)
        if split_id := await self._store.made_by(version.project_id, key):
            return await self.get(scope, split_id)
        await self._projects.require_active(scope, version.project_id)
        made = await self._make(scope, version, parameters)
        try:
            split_id = await self._store.add(version, made, key, keep_current=keep_current)
        except RequestKnownError:
            earlier = await self._store.made_by(version.project_id, key)
            if earlier is None:
                raise not_found("split", key.request_id) from None  # the other revision was deleted at once
            split_id = earlier
        return await self.get(scope, split_id)

    async def preview(
        self, scope: Scope, dataset_id: str, version_id: str, parameters: SplitParameters
    ) -> tuple[Version, MadeRevision]:
        """What `create` would store. Raises as it does."""
        version = await self._datasets.version(scope, dataset_id, version_id)
        return version, await self._make(scope, version, parameters)

    async def _make(self, scope: Scope, version: Version, parameters: SplitParameters) -> MadeRevision:
        require_committed(version)
        if version.unlabelled_count == version.image_count:
            raise precondition(
                Reason.ERROR_REASON_SPLIT_EMPTY,
                f"no image of {version.reference} has been annotated: there is nothing to split",
                field="version_id",
            )
        inputs = await self._inputs.load(scope, version, parameters)
        return await asyncio.to_thread(make_revision, inputs, parameters)

    async def get(self, scope: Scope, split_id: str, *, dataset_id: str = "", version_id: str = "") -> Revision:
        """By id, within its dataset and version (empty: any). Raises NOT_FOUND."""
        found = await self._store.get(scope, split_id)
        if found is None or dataset_id not in ("", found.dataset_id) or version_id not in ("", found.version_id):
            raise not_found("split", split_id)
        return found

    async def current(self, scope: Scope, dataset_id: str, version_id: str) -> Revision:
        """The current revision of a version. Raises NOT_FOUND, FAILED_PRECONDITION (SPLIT_MISSING)."""
        version = await self._datasets.version(scope, dataset_id, version_id)
        if version.current_split_id is None:
            raise split_missing(version)
        return await self.get(scope, version.current_split_id)

    async def of_version(
        self, scope: Scope, dataset_id: str, version_id: str, before: int | None, limit: int
    ) -> Page[Revision]:
        """Newest first. Raises NOT_FOUND for the version."""
        await self._datasets.version(scope, dataset_id, version_id)
        return Page.of(await self._store.of_version(version_id, before=before, limit=limit + 1), limit)

    async def delete(self, scope: Scope, split_id: str) -> None:
        """Raises NOT_FOUND, FAILED_PRECONDITION (PINNED, PROJECT_ARCHIVED)."""
        revision = await self.get(scope, split_id)
        await self._projects.require_active(scope, revision.project_id)
        pinned_by = await self._store.delete(scope, revision)
        if pinned_by:
            raise precondition(
                Reason.ERROR_REASON_PINNED,
                f"the job {pinned_by} uses this split, so it cannot be deleted",
                metadata={"pinned_by": pinned_by},
                field="split_id",
            )

    async def pin(self, scope: Scope, split_id: str, job_id: str) -> None:
        """Marks a revision as used by a job. Raises NOT_FOUND, FAILED_PRECONDITION (PROJECT_ARCHIVED)."""
        revision = await self.get(scope, split_id)
        await self._projects.require_active(scope, revision.project_id)
        if not await self._store.pin(scope, revision, job_id):
            raise not_found("split", split_id)

    async def contamination(self, scope: Scope, split_id: str, part: int, trained_split_id: str) -> Overlap:
        """How much of a revision's part another revision's train and val hold, by content. Raises NOT_FOUND."""
        evaluated, trained = await self.get(scope, split_id), await self.get(scope, trained_split_id)
        vector = await self._store.vector(split_id)
        content = await self._columns.array(evaluated.version_id, arrays.CONTENT)
        trained_vector = await self._store.vector(trained_split_id)
        trained_content = await self._columns.array(trained.version_id, arrays.CONTENT)

        def count() -> Overlap:
            evaluated = content[vector == part]
            seen = trained_content[np.isin(trained_vector, (PARTS["train"], PARTS["val"]))]
            return Overlap(len(evaluated), arrays.count_common(evaluated, [seen]))

        return await asyncio.to_thread(count)

    async def compare(
        self, scope: Scope, split_id: str, before_split_id: str, after: int, limit: int
    ) -> SplitComparison:
        """What of `before_split_id` is elsewhere in `split_id`, by content; images from ordinal `after` on, up to
        `limit`. Raises NOT_FOUND.
        """
        now, before = await self.get(scope, split_id), await self.get(scope, before_split_id)
        vector, earlier = await self._store.vector(split_id), await self._store.vector(before_split_id)
        content = await self._columns.array(now.version_id, arrays.CONTENT)
        content_before = await self._columns.array(before.version_id, arrays.CONTENT)

        def match() -> tuple[npt.NDArray[np.uint8], dict[tuple[int, int], int]]:
            row = arrays.find(content, content_before)
            was = (
                np.where(row >= 0, earlier[row], 0).astype(np.uint8)
                if len(earlier)
                else np.zeros(len(content), dtype=np.uint8)
            )
            cells = np.bincount(was * (SPLITS + 1) + vector, minlength=(SPLITS + 1) ** 2)
            gone = np.ones(len(earlier), dtype=np.bool_)
            gone[row[row >= 0]] = False
            moves = {divmod(cell, SPLITS + 1): int(count) for cell, count in enumerate(cells) if count}
            for part, count in enumerate(np.bincount(earlier[gone], minlength=SPLITS + 1)):
                if count:
                    moves[part, 0] = moves.get((part, 0), 0) + int(count)
            moves.pop((0, 0), None)
            return was, moves

        was, moves = await asyncio.to_thread(match)
        moved = np.flatnonzero(was != vector)
        page = moved[np.searchsorted(moved, after, side="right") :][: limit + 1]
        assets = await self._columns.get_assets(now.version_id, page[:limit], annotations=False)
        moved_assets = [MovedAsset(asset, int(was[asset.ordinal]), int(vector[asset.ordinal])) for asset in assets]
        return SplitComparison(moves, Page(moved_assets, len(page) > limit))

    async def leaks(self, scope: Scope, split_id: str, max_distance: int, after: int, limit: int) -> Page[Leak]:
        """Near-duplicates in different parts, closest first, from number `after` on. Raises NOT_FOUND."""
        found = await self.get(scope, split_id)
        vector = await self._store.vector(split_id)
        links = (await self._inputs.links(found.version_id)).within(max_distance)
        crossing = np.flatnonzero(leaks.crossing(vector, links.first, links.second))
        page = crossing[after : after + limit]
        ordinals = np.unique(np.concatenate([links.first[page], links.second[page]]))
        found_assets = await self._columns.get_assets(found.version_id, ordinals, annotations=False)
        urls = await self._urls.sign(found.project_id, [asset.sha256 for asset in found_assets], SHOWN_LIFETIME)
        shown = {
            asset.ordinal: LeakedAsset(asset, int(vector[asset.ordinal]), url)
            for asset, url in zip(found_assets, urls, strict=True)
        }
        rows = zip(links.first[page].tolist(), links.second[page].tolist(), links.distance[page].tolist(), strict=True)
        found_leaks = [
            Leak(number, shown[first], shown[second], distance)
            for number, (first, second, distance) in enumerate(rows, start=after + 1)
        ]
        return Page(found_leaks, len(crossing) > after + limit)
