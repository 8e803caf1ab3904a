"""The answer to what datasets ask of splits."""

import numpy as np
import numpy.typing as npt
from splitrail_common.access import Scope
from splitrail_common.errors import Violation, invalid, not_found

from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Version
from splitrail_split.splits.domain import Revision
from splitrail_split.splits.inputs import SplitInputs
from splitrail_split.splits.store import SplitStore


class SplitLookup:
    """Implements `datasets.splits.VersionSplits`."""

    def __init__(self, store: SplitStore, inputs: SplitInputs) -> None:
        self._store = store
        self._inputs = inputs

    async def find(self, version_id: str, number: int) -> str | None:
        """The id of revision `number`."""
        return await self._store.find_by_number(version_id, number)

    async def vector(self, scope: Scope, version: Version, split_id: str) -> npt.NDArray[np.uint8]:
        """(N,) the part of each image in a revision of the version; read-only. Raises NOT_FOUND."""
        if split_id != version.current_split_id:  # which is known to be the version's
            await self._of_version(scope, version, split_id)
        return await self._store.vector(split_id)

    async def first_of_group(self, scope: Scope, version: Version, split_id: str, field: str) -> arrays.Array:
        """(N,) the lowest ordinal among the images of each one's group; read-only. Raises NOT_FOUND, INVALID_ARGUMENT
        for `field`.
        """
        revision = await self._of_version(scope, version, split_id)
        if not revision.parameters.group_by:
            raise invalid(
                Violation(field, f"{revision.reference} was made without group_by: its images are in no groups")
            )
        return await self._inputs.first_of_group(version, revision)

    async def _of_version(self, scope: Scope, version: Version, split_id: str) -> Revision:
        revision = await self._store.get(scope, split_id)
        if revision is None or revision.version_id != version.version_id:
            raise not_found("split", split_id)
        return revision
