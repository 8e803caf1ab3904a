"""What datasets ask of splits. The splits wing stands above this one and answers: see `splits.lookup`."""

from typing import Protocol

import numpy as np
import numpy.typing as npt
from splitrail_common.access import Scope

from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Version


class VersionSplits(Protocol):
    """The split revisions of a version."""

    async def find(self, version_id: str, number: int) -> str | None:
        """The id of revision `number`."""

    async def vector(self, scope: Scope, version: Version, split_id: str) -> npt.NDArray[np.uint8]:
        """(N,) the part of each image in a revision of the version; read-only. Raises NOT_FOUND."""

    async def first_of_group(self, scope: Scope, version: Version, split_id: str, field: str) -> arrays.Array:
        """(N,) the lowest ordinal among the images of each one's group; read-only.

        Raises NOT_FOUND, INVALID_ARGUMENT for `field` when the revision was made without groups.
        """
