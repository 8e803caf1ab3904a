"""Use case of exports: a version's files, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import numpy as np
import numpy.typing as npt
from splitrail_common.access import Scope
from splitrail_common.annotations import Kind
from splitrail_common.errors import PlatformError, Reason, Violation, invalid, precondition

from splitrail_split.contents.urls import COPIED_LIFETIME, AssetUrls
from splitrail_split.datasets.conditions import require_committed, split_missing
from splitrail_split.datasets.service import Datasets
from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import KINDS, Asset, Task, Version
from splitrail_split.domain.parts import PART_NAMES
from splitrail_split.exports import coco, layout, names, yolo
from splitrail_split.exports.domain import ExportEnd, ExportItem, ExportStart, File, Flush, ImageFiles
from splitrail_split.exports.layout import ExportRequest, Plan
from splitrail_split.exports.pieces import Pieces, whole
from splitrail_split.formats.tree import CLASSES_FILE
from splitrail_split.splits.domain import Revision
from splitrail_split.splits.service import Splits
from splitrail_split.splits.store import SplitStore

_ROWS = 500
_CACHE_BYTES = 16 * 1024 * 1024


class Exports:
    """What callers take out of the platform."""

    def __init__(
        self, store: DatasetStore, *, datasets: Datasets, split_store: SplitStore, splits: Splits, urls: AssetUrls
    ) -> None:
        self._store = store
        self._datasets = datasets
        self._split_store = split_store
        self._splits = splits
        self._urls = urls
        self._repeated = arrays.ArrayCache(_CACHE_BYTES)

    async def stream(self, scope: Scope, request: ExportRequest) -> AsyncIterator[Sequence[ExportItem]]:
        """The start, the files, the end; some at a time.

        Raises NOT_FOUND, FAILED_PRECONDITION (VERSION_STATE, SPLIT_MISSING, SPLIT_EMPTY), INVALID_ARGUMENT for a format
        that cannot hold the annotations.
        """
        plan = await self._plan(scope, request)
        repeated = await self._repeated.get(plan.version.version_id, "repeated", lambda: self._repeated_names(plan))
        rest = plan.chosen[np.searchsorted(plan.chosen, request.after, side="right") :]
        yield [_start(plan), *whole(layout.LOCK_FILE, layout.lock(plan).encode())]
        try:
            async for assets in self._pages(plan, rest, annotations=plan.writer.label_files):
                yield await asyncio.to_thread(self._images, plan, repeated, assets)
            yield [Flush()]
            if plan.class_tree is not None:
                yield [file for path in plan.placeholders() for file in whole(path, b"")]
                yield whole(CLASSES_FILE, layout.class_list(plan.class_tree, plan.version.class_names).encode())
            elif plan.writer.label_files:
                yield whole("data.yaml", (await self._data_yaml(plan)).encode())
            else:
                for path, ordinals in plan.documents():
                    async for files in self._document(plan, repeated, path, ordinals):
                        yield files
        except yolo.UnwritableError as error:
            raise invalid(Violation("format", str(error))) from error
        yield [_end(plan)]

    async def _plan(self, scope: Scope, request: ExportRequest) -> Plan:
        version, revision = await self._found(scope, request)
        require_committed(version)
        dataset = await self._datasets.dataset(scope, version.dataset_id)
        kind = KINDS[Task(dataset.task)]
        if why := layout.WRITERS[request.layout].refused.get(kind):
            raise invalid(Violation("format", why))
        if request.parts and revision is None:
            raise split_missing(version)
        vector = await self._split_store.vector(revision.split_id) if revision else None
        states = await self._store.array(version.version_id, arrays.LABEL_STATE)
        tree = (
            layout.tree_of(version.class_names, await self._store.labels(version.version_id))
            if kind is Kind.CLASS
            else None
        )
        plan = await asyncio.to_thread(layout.plan, version, revision, vector, states, request, class_tree=tree)
        if missing := [PART_NAMES[part - 1] for part in request.parts if part not in plan.counts]:
            raise _empty(f"{plan.reference} has no {' and no '.join(missing)} images", "parts", missing[0])
        if not len(plan.chosen):
            raise _empty(
                f"no image of {version.reference} has been annotated: without include_unlabelled there is nothing to export",
                "version_id",
            )
        return plan

    async def _found(self, scope: Scope, request: ExportRequest) -> tuple[Version, Revision | None]:
        if not request.split_id:
            version = await self._datasets.version(scope, request.dataset_id, request.version_id)
            return version, await self._splits.get(
                scope, version.current_split_id
            ) if version.current_split_id else None
        revision = await self._splits.get(
            scope, request.split_id, dataset_id=request.dataset_id, version_id=request.version_id
        )
        return await self._datasets.version(scope, revision.dataset_id, revision.version_id), revision

    async def _repeated_names(self, plan: Plan) -> npt.NDArray[np.uint64]:
        """Keys of the names that several images of the version have, whatever part they are in: so an image is called
        the same in every export.
        """
        paths = await self._store.paths(plan.version.version_id)
        return await asyncio.to_thread(lambda: names.repeated(names.keys(plan.stems(paths))))

    async def _pages(
        self, plan: Plan, ordinals: npt.NDArray[np.intp], *, annotations: bool
    ) -> AsyncIterator[list[Asset]]:
        for start in range(0, len(ordinals), _ROWS):
            yield await self._store.get_assets(
                plan.version.version_id, ordinals[start : start + _ROWS], annotations=annotations
            )

    def _images(self, plan: Plan, repeated: arrays.Array, assets: Sequence[Asset]) -> list[ImageFiles]:
        """Blocking: images with signed addresses, each with its label file if it has one."""
        made = []
        for asset in assets:
            stem = _stem(plan, asset, repeated)
            url = self._urls.sign_one(plan.version.project_id, asset.sha256, COPIED_LIFETIME)
            files = [
                File(plan.image_path(asset, stem), sha256=asset.sha256.hex(), size_bytes=asset.size_bytes, url=url)
            ]
            if label_path := plan.label_path(asset, stem):
                files += whole(label_path, yolo.rows(asset.annotations or b"").encode())
            made.append(ImageFiles(asset.ordinal, files))
        return made

    async def _data_yaml(self, plan: Plan) -> str:
        labelled = plan.chosen[plan.labelled[plan.chosen]]
        objects = await self._store.array(plan.version.version_id, arrays.OBJECTS)
        # The number of keypoints is that of the dataset: one image with objects tells it.
        first = labelled[objects[labelled] > 0][:1]
        shown = await self._store.get_assets(plan.version.version_id, first, annotations=True)
        keypoints = yolo.keypoint_shape(shown[0].annotations or b"") if shown else None
        return yolo.data_yaml(
            plan.reference, plan.image_folders, plan.version.class_names, keypoints, plan.version.flip_idx
        )

    async def _document(
        self, plan: Plan, repeated: arrays.Array, path: str, ordinals: npt.NDArray[np.intp]
    ) -> AsyncIterator[Sequence[File]]:
        """One COCO file, in two passes over its images: all of them come before the first annotation."""
        document = coco.Document(plan.version.class_names, plan.reference)
        pieces = Pieces(path)

        def entry(asset: Asset) -> coco.Image:
            return coco.Image(
                asset.ordinal + 1, plan.image_path(asset, _stem(plan, asset, repeated)), asset.width, asset.height
            )

        def images(assets: Sequence[Asset]) -> list[File]:
            return list(pieces.feed(document.images(map(entry, assets))))

        def annotations(assets: Sequence[Asset]) -> list[File]:
            return [
                file
                for asset in assets
                for file in pieces.feed(document.annotations(entry(asset), asset.annotations or b""))
            ]

        yield list(pieces.feed(document.start()))
        async for assets in self._pages(plan, ordinals, annotations=False):
            yield await asyncio.to_thread(images, assets)
        yield list(pieces.feed(document.turn()))
        async for assets in self._pages(plan, ordinals, annotations=True):
            yield await asyncio.to_thread(annotations, assets)
        yield [*pieces.feed(document.end()), pieces.end()]


def _stem(plan: Plan, asset: Asset, repeated: arrays.Array) -> str:
    stem = plan.stem(asset.ordinal, asset.path)
    key = names.key(stem)
    at = int(np.searchsorted(repeated, np.uint64(key)))
    return names.numbered(stem, asset.ordinal) if at < len(repeated) and int(repeated[at]) == key else stem


def _start(plan: Plan) -> ExportStart:
    split_id = plan.revision.split_id if plan.revision else ""
    return ExportStart(
        reference=plan.reference, version_id=plan.version.version_id, split_id=split_id, image_count=len(plan.chosen)
    )


def _end(plan: Plan) -> ExportEnd:
    return ExportEnd(
        file_count=plan.file_count,
        image_count=len(plan.chosen),
        version_digest=plan.version.digest,
        split_digest=plan.revision.digest if plan.revision else "",
        part_digests=plan.part_digests,
    )


def _empty(message: str, field: str, part: str = "") -> PlatformError:
    return precondition(
        Reason.ERROR_REASON_SPLIT_EMPTY, message, metadata={"part": part} if part else None, field=field
    )
