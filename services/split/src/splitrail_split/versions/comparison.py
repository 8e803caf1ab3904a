"""Use case: what a version or draft has that another version has not."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from splitrail_common.access import Scope
from splitrail_common.database import Connection
from splitrail_common.errors import Reason, precondition

from splitrail_split.datasets.service import Datasets
from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Asset, Version, VersionState
from splitrail_split.versions import classes, differences
from splitrail_split.versions.differences import (
    ABSENT,
    AssetDifference,
    AssetField,
    ClassDifference,
    Counts,
    DifferenceKind,
    Differences,
)
from splitrail_split.versions.drafts import Draft
from splitrail_split.versions.store import DraftStore

_CACHE_BYTES = 32 * 1024 * 1024
_COMPARED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class DiffQuery:
    """What to compare, and which images to show: those of a kind (0: all), from number `start` on. other_version_id
    empty: the base.
    """

    dataset_id: str
    version_id: str
    other_version_id: str
    kind: int
    annotations: bool
    start: int
    limit: int


@dataclass(frozen=True, slots=True)
class DiffPage:
    """Counts and classes of the whole difference, and a page of images.

    size: differences that the page went over; `more` when others follow.
    """

    counts: Counts
    classes: list[ClassDifference]
    assets: list[AssetDifference]
    size: int
    more: bool


class Comparisons:
    """Differences of versions. What a pair of versions differs in never changes and is found once; with a draft, until
    the draft is changed.
    """

    def __init__(self, store: DraftStore, dataset_store: DatasetStore, datasets: Datasets) -> None:
        self._store = store
        self._assets = dataset_store
        self._datasets = datasets
        self._cache = arrays.ArrayCache(_CACHE_BYTES)

    async def diff(self, scope: Scope, query: DiffQuery) -> DiffPage:
        """Raises NOT_FOUND, FAILED_PRECONDITION (VERSION_STATE) when the other version is a draft."""
        ours = await self._datasets.version(scope, query.dataset_id, query.version_id)
        draft = await self._store.get(scope, ours.version_id) if ours.state == VersionState.DRAFT else None
        other_id = query.other_version_id or ours.base_version_id
        theirs = await self._datasets.version(scope, ours.dataset_id, other_id) if other_id else None
        if theirs is not None and theirs.state != VersionState.COMMITTED:
            text = f"{theirs.reference} is a draft: drafts are compared with versions, not the other way round"
            raise precondition(Reason.ERROR_REASON_VERSION_STATE, text, field="other_version_id")
        found = await self._between(ours, draft, theirs)
        rows = found.of_kind(query.kind)
        page = rows[query.start : query.start + query.limit]
        assets = await self._shown(page, ours, draft, theirs, annotations=query.annotations)
        of_classes = differences.of_classes(ours, theirs, draft.class_targets if draft else None)
        return DiffPage(found.counts, of_classes, assets, len(page), len(rows) > query.start + len(page))

    async def counts(self, ours: Version | None, theirs: Version | None) -> Counts:
        """In how many images two committed versions differ; None has none."""
        if ours is None:
            images = theirs.image_count if theirs else 0
            return Counts(added=0, removed=images, changed=0, fields={})
        return (await self._between(ours, None, theirs)).counts

    async def _between(self, ours: Version, draft: Draft | None, theirs: Version | None) -> Differences:
        images_of = draft.base_version_id if draft else ours.version_id
        other_id = theirs.version_id if theirs else None

        async def load() -> arrays.Array:
            positions = classes.moved_positions(ours.class_ids, theirs.class_ids) if theirs else None
            async with self._store.snapshot() as connection:
                found = await self._store.differences(
                    connection,
                    ours.version_id,
                    images_of,
                    other_id,
                    within_base=draft is not None and images_of == other_id,
                    every=positions is not None,
                )
                if positions is not None:
                    found = await self._by_class(
                        connection,
                        found,
                        positions,
                        draft_id=draft.version_id if draft else None,
                        images_of=images_of,
                        other_id=other_id,
                    )
            return (await asyncio.to_thread(differences.ordered, found.rows)).rows

        stamp = f"{ours.version_id}/{draft.change_count}" if draft else ours.version_id
        return Differences((await self._cache.get(stamp, other_id or "", load)).astype(np.int32, copy=False))

    async def _by_class(
        self,
        connection: Connection,
        found: Differences,
        positions: npt.NDArray[np.int64],
        *,
        draft_id: str | None,
        images_of: str | None,
        other_id: str | None,
    ) -> Differences:
        """`found`, where equal positions do not mean equal classes: so annotations of every image that is in both are
        compared anew.
        """
        rows, bit = found.rows, AssetField.ANNOTATIONS.bit
        both = np.flatnonzero(found.common)
        for start in range(0, len(both), _COMPARED_AT_ONCE):
            some = both[start : start + _COMPARED_AT_ONCE]
            here = await self._store.annotations(connection, rows[some, 0], images_of=images_of, draft_id=draft_id)
            there = await self._store.annotations(connection, rows[some, 1], images_of=other_id)
            differ = await asyncio.to_thread(classes.differing, here, there, positions)
            rows[some, 2] = np.where(differ, rows[some, 2] | bit, rows[some, 2] & ~bit)
        return Differences(rows[~found.common | (rows[:, 2] != 0)])

    async def _shown(
        self,
        rows: npt.NDArray[np.int32],
        ours: Version,
        draft: Draft | None,
        theirs: Version | None,
        *,
        annotations: bool,
    ) -> list[AssetDifference]:
        """What the rows stand for; of a draft that was changed meanwhile, what is still there."""
        own = {int(place): -1 - int(place) for place in rows[:, 0] if ABSENT < place < 0}
        here: dict[int, Asset] = {}
        if draft is not None and own:
            found = {
                one.ordinal: one
                for one in await self._store.draft_assets(draft, list(own.values()), annotations=annotations)
            }
            here.update(
                (place, replace(found[position], ordinal=0)) for place, position in own.items() if position in found
            )
        images_of = draft.base_version_id if draft else ours.version_id
        here.update(await self._of_version(images_of, rows[:, 0], annotations=annotations))
        there = await self._of_version(theirs.version_id if theirs else None, rows[:, 1], annotations=annotations)
        kinds: Sequence[int] = Differences(rows).kinds.tolist()
        shown = []
        for kind, (place, other, bits) in zip(kinds, rows.tolist(), strict=True):
            asset, before = here.get(place), there.get(other)
            if asset is not None or kind == DifferenceKind.REMOVED:
                shown.append(AssetDifference(DifferenceKind(kind), asset, before, differences.fields(bits)))
        return shown

    async def _of_version(
        self, version_id: str | None, places: npt.NDArray[np.int32], *, annotations: bool
    ) -> dict[int, Asset]:
        ordinals = places[places >= 0]
        if version_id is None or not ordinals.size:
            return {}
        return {
            one.ordinal: one for one in await self._assets.get_assets(version_id, ordinals, annotations=annotations)
        }
