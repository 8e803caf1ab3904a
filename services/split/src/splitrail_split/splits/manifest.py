"""Use case: what an attempt stages of a split revision, and what it may not see."""

from collections.abc import AsyncIterator, Sequence

import grpc
import numpy as np
from splitrail_common.access import Scope
from splitrail_common.errors import PlatformError, Reason
from splitrail_common.tokens import Caller

from splitrail_split.contents.urls import COPIED_LIFETIME, AssetUrls
from splitrail_split.datasets.service import Datasets
from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain.parts import PART_NAMES, PARTS
from splitrail_split.splits.domain import ManifestEnd, ManifestEntry
from splitrail_split.splits.service import Splits
from splitrail_split.splits.store import SplitStore

_ROWS = 500


class Manifests:
    """Manifests of split revisions."""

    def __init__(
        self, splits: Splits, store: SplitStore, datasets: Datasets, dataset_store: DatasetStore, urls: AssetUrls
    ) -> None:
        self._splits = splits
        self._store = store
        self._datasets = datasets
        self._dataset_store = dataset_store
        self._urls = urls

    async def stream(
        self, caller: Caller, scope: Scope, split_id: str, parts: Sequence[int], after: int
    ) -> AsyncIterator[Sequence[ManifestEntry] | ManifestEnd]:
        """Images of these parts with ordinals above `after`, some at a time, then the end.

        Raises NOT_FOUND, PERMISSION_DENIED for what the attempt may not see.
        """
        _allow(caller, split_id, parts)
        revision = await self._splits.get(scope, split_id)
        version = await self._datasets.version(scope, revision.dataset_id, revision.version_id)
        vector = await self._store.vector(split_id)
        wanted = np.flatnonzero(np.isin(vector, parts))
        rest = wanted[np.searchsorted(wanted, after, side="right") :]
        for start in range(0, len(rest), _ROWS):
            assets = await self._dataset_store.get_assets(
                version.version_id, rest[start : start + _ROWS], annotations=True
            )
            urls = await self._urls.sign(revision.project_id, [asset.sha256 for asset in assets], COPIED_LIFETIME)
            yield [
                ManifestEntry(asset, int(vector[asset.ordinal]), url) for asset, url in zip(assets, urls, strict=True)
            ]
        digests = [
            one if PARTS[name] in parts else "" for name, one in zip(PART_NAMES, revision.part_digests, strict=True)
        ]
        yield ManifestEnd(version.class_names, len(wanted), digests)


def _allow(caller: Caller, split_id: str, parts: Sequence[int]) -> None:
    """Raises PERMISSION_DENIED unless the attempt's token names this revision and every one of these parts."""
    names = [PART_NAMES[part - 1] for part in parts]
    refused = [name for name in names if name not in caller.parts]
    if caller.split_id == split_id and not refused:
        return
    message = (
        f"this attempt may not read {' and '.join(refused)}"
        if caller.split_id == split_id
        else "this attempt may read another split only"
    )
    raise PlatformError(
        grpc.StatusCode.PERMISSION_DENIED,
        Reason.ERROR_REASON_ROLE_MISSING,
        message,
        metadata={"required": f"an attempt's token for {', '.join(names)} of {split_id}"},
    )
