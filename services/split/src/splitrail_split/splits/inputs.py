"""Collects what a split revision is made from: a version's columns, the groups that were asked for, and the images
whose parts are given.
"""

import asyncio
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import re2
from splitrail_common.access import Scope
from splitrail_common.errors import Violation, invalid, not_found
from splitrail_common.text import counted

from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Version
from splitrail_split.splits import leaks
from splitrail_split.splits.algorithm import groups
from splitrail_split.splits.domain import GroupBy, GroupKind, Revision, SplitParameters
from splitrail_split.splits.revision import Inputs
from splitrail_split.splits.store import SplitStore
from splitrail_split.versions.near import Links

_SHOWN = 3
_UNGROUPED = {  # most images have no near-duplicate, and all have a folder
    GroupKind.METADATA: "without metadata {!r}, so in no group by it: {}",
    GroupKind.FILENAME: "without a match of the pattern {!r} in their names, so in no group by it: {}",
}
_CACHE_BYTES = 32 * 1024 * 1024


class SplitInputs:
    """Reads for `revision.make_revision`."""

    def __init__(self, store: SplitStore, columns: DatasetStore) -> None:
        self._store = store
        self._columns = columns
        self._cache = arrays.ArrayCache(_CACHE_BYTES)

    async def load(self, scope: Scope, version: Version, parameters: SplitParameters) -> Inputs:
        """Raises NOT_FOUND for the base, INVALID_ARGUMENT for a base of another dataset, a pin that names no image, a
        rule that groups nothing.
        """
        version_id = version.version_id
        content = await self._columns.array(version_id, arrays.CONTENT)
        links = await self.links(version_id)
        columns = await self._groups(version, parameters, links)
        fixed = np.zeros(len(content), dtype=np.uint8)
        findings: list[str] = []
        if parameters.base_split_id:
            fixed, gone = await self._base(scope, version, parameters.base_split_id, content)
            if gone:
                findings.append(f"no longer in {version.reference}: {counted(gone, 'image')} of the base")
        for by, column in zip(parameters.group_by, columns, strict=True):
            if by.kind in _UNGROUPED and (alone := int(np.count_nonzero(column < 0))):
                findings.append(_UNGROUPED[by.kind].format(by.value, counted(alone, "image")))
        if parameters.pins:
            await self._pin(version, parameters, fixed)
        return Inputs(
            content=content,
            annotation=await self._columns.array(version_id, arrays.ANNOTATION),
            label_state=await self._columns.array(version_id, arrays.LABEL_STATE),
            labels=await self._columns.labels(version_id),
            class_names=version.class_names,
            links=links,
            next_frame=await self._columns.array(version_id, arrays.NEXT_FRAME),
            groups=columns,
            fixed=fixed if parameters.base_split_id or parameters.pins else None,
            findings=findings,
        )

    async def first_of_group(self, version: Version, revision: Revision) -> arrays.Array:
        """(N,) the lowest ordinal among the images of each one's group in a revision made with group_by; read-only."""

        async def load() -> arrays.Array:
            columns = await self._groups(version, revision.parameters, await self.links(version.version_id))
            return await asyncio.to_thread(
                lambda: groups.first_of_unit(groups.join(version.image_count, columns)).astype(np.int32)
            )

        return await self._cache.get(revision.split_id, "first_of_group", load)

    async def _groups(self, version: Version, parameters: SplitParameters, links: Links) -> list[npt.NDArray[np.int64]]:
        """A column of numbers for each rule."""
        return [await self._group(version, by, index, links) for index, by in enumerate(parameters.group_by)]

    async def links(self, version_id: str) -> Links:
        """The near-duplicates of a version."""
        first = await self._columns.array(version_id, arrays.LINK_FIRST)
        second = await self._columns.array(version_id, arrays.LINK_SECOND)
        distance = await self._columns.array(version_id, arrays.LINK_DISTANCE)
        return Links(first.astype(np.int64), second.astype(np.int64), distance.astype(np.uint8, copy=False))

    async def _group(self, version: Version, by: GroupBy, index: int, links: Links) -> npt.NDArray[np.int64]:
        """(N,) a number for each group, -1 for images in none."""
        if by.kind is GroupKind.NEAR_DUPLICATES:
            return await asyncio.to_thread(leaks.cluster, version.image_count, links.within(int(by.value)))
        if by.kind is GroupKind.METADATA:
            values = await self._columns.metadata(version.version_id, str(by.value))
            if not any(values):
                raise invalid(
                    Violation(
                        f"parameters.group_by[{index}].metadata_key",
                        f"no image of {version.reference} has metadata {by.value!r}",
                    )
                )
        else:
            paths = await self._columns.paths(version.version_id)
            if by.kind is GroupKind.FOLDER:
                values = [path.rpartition("/")[0] or "." for path in paths]
            else:
                field = f"parameters.group_by[{index}].filename_pattern"
                values = await asyncio.to_thread(_matches, str(by.value), paths, field)
                if not any(values):
                    raise invalid(
                        Violation(field, f"{by.value!r} finds nothing in the file names of {version.reference}")
                    )
        return await asyncio.to_thread(numbered, values)

    async def _base(
        self, scope: Scope, version: Version, base_split_id: str, content: arrays.Array
    ) -> tuple[npt.NDArray[np.uint8], int]:
        """(N,) the part of each image in the base (0: it does not know it), and how many images of the base are gone."""
        base = await self._store.get(scope, base_split_id)
        if base is None:
            raise not_found("split", base_split_id)
        if base.dataset_id != version.dataset_id:
            raise invalid(
                Violation(
                    "parameters.base_split_id",
                    f"{base.reference} is a split of another dataset than {version.reference}",
                )
            )
        vector = await self._store.vector(base_split_id)
        theirs = await self._columns.array(base.version_id, arrays.CONTENT)

        def match() -> tuple[npt.NDArray[np.uint8], int]:
            row = arrays.find(content, theirs)
            fixed = (
                np.where(row >= 0, vector[row], 0).astype(np.uint8)
                if len(vector)
                else np.zeros(len(content), dtype=np.uint8)
            )
            return fixed, int(np.count_nonzero(vector)) - int(np.count_nonzero(vector[row[row >= 0]]))

        return await asyncio.to_thread(match)

    async def _pin(self, version: Version, parameters: SplitParameters, fixed: npt.NDArray[np.uint8]) -> None:
        """Enters the pins into `fixed`."""
        by_name: dict[tuple[str, str], list[int]] = {}
        for kind in {pin.by for pin in parameters.pins}:
            wanted = [pin.value for pin in parameters.pins if pin.by == kind]
            for value, ordinal in await self._columns.find_ordinals(version.version_id, kind, wanted):
                by_name.setdefault((kind, value), []).append(ordinal)
        absent = [index for index, pin in enumerate(parameters.pins) if (pin.by, pin.value) not in by_name]
        if absent:
            pins = parameters.pins
            raise invalid(
                *(
                    Violation(
                        f"parameters.pins[{index}].{pins[index].by}",
                        f"{version.reference} has no image {pins[index].value[:100]!r}",
                    )
                    for index in absent[:_SHOWN]
                )
            )
        given: dict[int, int] = {}
        for index, pin in enumerate(parameters.pins):
            for ordinal in by_name[pin.by, pin.value]:
                if given.setdefault(ordinal, pin.part) != pin.part:
                    raise invalid(
                        Violation(
                            f"parameters.pins[{index}]",
                            f"the image {pin.value[:100]!r} is pinned to another part before",
                        )
                    )
                fixed[ordinal] = pin.part


def numbered(values: Sequence[str]) -> npt.NDArray[np.int64]:
    """(N,) a number for each distinct text; -1 for empty ones."""
    numbers: dict[str, int] = {}
    return np.fromiter(
        (numbers.setdefault(value, len(numbers)) if value else -1 for value in values),
        dtype=np.int64,
        count=len(values),
    )


def _matches(pattern: str, paths: Sequence[str], field: str) -> list[str]:
    """What the pattern finds in each file name, without folders and extension."""
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise invalid(Violation(field, f"is not a regular expression in RE2's syntax: {reason}")) from error
    found = []
    for path in paths:
        match = compiled.search(path.rpartition("/")[2].rpartition(".")[0])
        found.append("" if match is None else (match[1] if match.re.groups else match[0]) or "")
    return found
