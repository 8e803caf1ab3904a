"""Splits of versions."""

from collections.abc import Sequence
from typing import Unpack

from splitrail.split.v1 import split_pb2, split_service_pb2

from .base import BaseClient
from .channel import LONG_DEADLINE_SECONDS
from .errors import UsageError
from .references import SplitOptions, group_by, part_value, split_method, split_ratios


class SplitClient(BaseClient):
    """The part of AsyncClient that creates, compares and deletes splits."""

    async def split(
        self, reference: str, ratios: Sequence[float] = (0.7, 0.15, 0.15), **options: Unpack[SplitOptions]
    ) -> split_pb2.SplitRevision:
        """Splits a version into train, val and test, and makes that its current split. Equal arguments give the same
        split everywhere.
        """
        parameters = await self._split_parameters(ratios, options)
        version = await self.version(reference)
        request = split_service_pb2.CreateSplitRequest(
            dataset_id=version.dataset_id,
            version_id=version.version_id,
            parameters=parameters,
            keep_current="folds" in options,
        )
        return (await self.channel.call(self.channel.splits.CreateSplit, request, seconds=LONG_DEADLINE_SECONDS)).split

    async def preview_split(
        self, reference: str, ratios: Sequence[float] = (0.7, 0.15, 0.15), **options: Unpack[SplitOptions]
    ) -> split_pb2.SplitRevision:
        """The split that `split` would create, with its certificate; nothing is stored, so it has neither id nor
        number.
        """
        parameters = await self._split_parameters(ratios, options)
        version = await self.version(reference)
        request = split_service_pb2.PreviewSplitRequest(
            dataset_id=version.dataset_id, version_id=version.version_id, parameters=parameters
        )
        return (await self.channel.call(self.channel.splits.PreviewSplit, request, seconds=LONG_DEADLINE_SECONDS)).split

    async def _split_parameters(self, ratios: Sequence[float], options: SplitOptions) -> split_pb2.SplitParameters:
        """Raises UsageError before any call to a service."""
        folds = options.get("folds")
        parameters = split_pb2.SplitParameters(
            ratios=split_ratios(ratios),
            seed=options.get("seed", 0),
            method=split_method(options.get("method", "stratified")),
            group_by=[group_by(rule) for rule in options.get("group_by", ())],
            pins=[split_pb2.Pin(path=path, part=part_value(part)) for path, part in options.get("pins", {}).items()],
            folds=split_pb2.Folds(count=folds[0], index=folds[1]) if folds else None,
        )
        if options.get("base"):
            parameters.base_split_id = (await self.get_split(options["base"])).split_id
        return parameters

    async def splits(self, reference: str) -> list[split_pb2.SplitRevision]:
        """All revisions of a version, newest first."""
        version = await self.version(reference)
        request = split_service_pb2.ListSplitsRequest(dataset_id=version.dataset_id, version_id=version.version_id)
        return [item async for page in self._pages(self.channel.splits.ListSplits, request) for item in page.splits]

    async def compare_splits(self, reference: str, before: str) -> split_service_pb2.CompareSplitsResponse:
        """Which images are in another part than in the revision `before`: counts, and every image that moved."""
        now, earlier = await self.get_split(reference), await self.get_split(before)
        request = split_service_pb2.CompareSplitsRequest(split_id=now.split_id, before_split_id=earlier.split_id)
        whole = split_service_pb2.CompareSplitsResponse()
        async for page in self._pages(self.channel.splits.CompareSplits, request):
            if not whole.moves:  # every page has all of them
                whole.moves.extend(page.moves)
            whole.assets.extend(page.assets)
        return whole

    async def leaks(self, reference: str, max_distance: int | None = None) -> list[split_service_pb2.Leak]:
        """Near-duplicates in different parts of a revision, closest first, with signed URLs of both images."""
        revision = await self.get_split(reference)
        request = split_service_pb2.FindLeaksRequest(split_id=revision.split_id, max_distance=max_distance)
        return [item async for page in self._pages(self.channel.splits.FindLeaks, request) for item in page.leaks]

    async def get_split(self, reference: str) -> split_pb2.SplitRevision:
        """The split that `cells@v3#2` names; without number, the version's current split."""
        resolved = await self._resolve(reference)
        request = split_service_pb2.GetSplitRequest(
            dataset_id=resolved.version.dataset_id, version_id=resolved.version.version_id, split_id=resolved.split_id
        )
        return (await self.channel.call(self.channel.splits.GetSplit, request)).split

    async def delete_split(self, reference: str) -> None:
        """Deletes `cells@v3#2`; the newest of the others becomes the current one. Raises RefusedError (PINNED) while a
        job uses it.

        UsageError for `cells@v3`, which only implies a split.
        """
        found = await self.get_split(reference)
        if reference != found.reference:
            raise UsageError(
                f"{reference} does not name a split, so nothing was deleted: use {found.reference} to delete that one"
            )
        request = split_service_pb2.DeleteSplitRequest(split_id=found.split_id, allow_missing=True)
        await self.channel.call(self.channel.splits.DeleteSplit, request)
