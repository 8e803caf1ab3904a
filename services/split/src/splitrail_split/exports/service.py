"""Use case of exports: a version's files, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt
from splitrail.split.v1.export_service_pb2 import ExportEnd, ExportFile, ExportStart, ExportVersionResponse
from splitrail_common.access import Scope
from splitrail_common.errors import PlatformError, Reason, Violation, invalid, not_found, precondition
from splitrail_common.objects import ObjectStore

from splitrail_split.datasets import convert
from splitrail_split.datasets.service import Datasets, require_committed, split_missing
from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import PART_NAMES, Asset, Revision, Task, Version, asset_key
from splitrail_split.exports import coco, layout, names, yolo
from splitrail_split.exports.layout import Layout, Order, Plan
from splitrail_split.exports.messages import Messages, Pieces, whole
from splitrail_split.formats.tree import CLASSES_FILE
from splitrail_split.splits.service import Splits

URL_LIFETIME = timedelta(hours=1)
_ROWS = 500
_CACHE_BYTES = 16 * 1024 * 1024


class Exports:
    """What callers take out of the platform."""

    def __init__(self, datasets: Datasets, splits: Splits, store: DatasetStore, objects: ObjectStore) -> None:
        self._datasets = datasets
        self._splits = splits
        self._store = store
        self._objects = objects
        self._repeated = arrays.ArrayCache(_CACHE_BYTES)

    async def stream(self, scope: Scope, order: Order) -> AsyncIterator[ExportVersionResponse]:
        """The start, the files, the end.

        Raises NOT_FOUND, FAILED_PRECONDITION (VERSION_STATE, SPLIT_MISSING, SPLIT_EMPTY), INVALID_ARGUMENT for a format that cannot hold
        the annotations.
        """
        plan = await self._plan(scope, order)
        repeated = await self._repeated.get(plan.version.version_id, "repeated", lambda: self._repeated_names(plan))
        rest = plan.chosen[np.searchsorted(plan.chosen, order.after, side="right") :]
        yield ExportVersionResponse(start=_start(plan))
        messages = Messages()
        messages.add(whole(layout.LOCK_FILE, layout.lock(plan).encode()))
        try:
            async for assets in self._pages(plan, rest, annotations=plan.layout is Layout.YOLO):
                for message in await asyncio.to_thread(self._images, plan, repeated, assets, messages):
                    yield message
            for message in messages.rest():  # what comes now is sent again when the export breaks off: in messages of its own
                yield message
            if plan.class_tree is not None:
                for path in plan.placeholders():
                    messages.add(whole(path, b""))
                messages.add(whole(CLASSES_FILE, layout.class_list(plan.class_tree, plan.version.class_names).encode()))
            elif plan.layout is Layout.YOLO:
                messages.add(whole("data.yaml", (await self._data_yaml(plan)).encode()))
            else:
                for path, ordinals in plan.documents():
                    async for message in self._document(plan, repeated, path, ordinals, messages=messages):
                        yield message
        except yolo.UnwritableError as error:
            raise invalid(Violation("format", str(error))) from error
        for message in messages.rest():
            yield message
        yield ExportVersionResponse(end=_end(plan))

    async def _plan(self, scope: Scope, order: Order) -> Plan:
        version, revision = await self._found(scope, order)
        require_committed(version)
        dataset = await self._datasets.dataset(scope, version.dataset_id)
        classify = dataset.task == Task.CLASSIFY
        if classify and order.layout is Layout.COCO:
            raise invalid(Violation("format", "COCO does not hold classes of whole images: export them as YOLO, a folder for each class"))
        if order.parts and revision is None:
            raise split_missing(version)
        vector = await self._store.vector(revision.split_id) if revision else None
        states = await self._store.array(version.version_id, arrays.LABEL_STATE)
        tree = layout.tree_of(version.class_names, await self._store.labels(version.version_id)) if classify else None
        plan = await asyncio.to_thread(layout.plan, version, revision, vector, states, order, class_tree=tree)
        if missing := [PART_NAMES[part - 1] for part in order.parts if part not in plan.counts]:
            raise _empty(f"{plan.reference} has no {' and no '.join(missing)} images", "splits", missing[0])
        if not len(plan.chosen):
            raise _empty(f"nobody has labelled an image of {version.reference}: without include_unlabelled there is nothing to export", "version_id")
        return plan

    async def _found(self, scope: Scope, order: Order) -> tuple[Version, Revision | None]:
        if not order.split_id:
            version = await self._datasets.version(scope, order.dataset_id, order.version_id)
            return version, await self._splits.get(scope, version.current_split_id) if version.current_split_id else None
        revision = await self._splits.get(scope, order.split_id)
        if order.version_id not in ("", revision.version_id) or order.dataset_id not in ("", revision.dataset_id):
            raise not_found("split", order.split_id)
        return await self._datasets.version(scope, revision.dataset_id, revision.version_id), revision

    async def _repeated_names(self, plan: Plan) -> npt.NDArray[np.uint64]:
        """Keys of the names that several images of the version have, whatever part they are in: so an image is called the same in every export."""
        paths = await self._store.paths(plan.version.version_id)
        return await asyncio.to_thread(lambda: names.repeated(names.keys(plan.stems(paths))))

    async def _pages(self, plan: Plan, ordinals: npt.NDArray[np.intp], *, annotations: bool) -> AsyncIterator[list[Asset]]:
        for start in range(0, len(ordinals), _ROWS):
            yield await self._store.get_assets(plan.version.version_id, ordinals[start : start + _ROWS], annotations=annotations)

    def _images(self, plan: Plan, repeated: arrays.Array, assets: Sequence[Asset], messages: Messages) -> list[ExportVersionResponse]:
        """Blocking: images with signed URLs, each with its label file if it has one."""
        project_id = plan.version.project_id
        for asset in assets:
            stem = _stem(plan, asset, repeated)
            url = self._objects.download_url(asset_key(project_id, asset.sha256), URL_LIFETIME)
            files = [ExportFile(path=plan.image_path(asset, stem), sha256=asset.sha256.hex(), size_bytes=asset.size_bytes, url=url)]
            if label_path := plan.label_path(asset, stem):
                files += whole(label_path, yolo.rows(asset.annotations or b"").encode())
            messages.add_image(asset.ordinal, files)
        return messages.full()

    async def _data_yaml(self, plan: Plan) -> str:
        labelled = plan.chosen[plan.labelled[plan.chosen]]
        objects = await self._store.array(plan.version.version_id, arrays.OBJECTS)
        # The number of keypoints is that of the dataset: one image with objects tells it.
        first = labelled[objects[labelled] > 0][:1]
        shown = await self._store.get_assets(plan.version.version_id, first, annotations=True)
        keypoints = yolo.keypoint_shape(shown[0].annotations or b"") if shown else None
        return yolo.data_yaml(plan.reference, plan.image_folders, plan.version.class_names, keypoints, plan.version.flip_idx)

    async def _document(
        self, plan: Plan, repeated: arrays.Array, path: str, ordinals: npt.NDArray[np.intp], *, messages: Messages
    ) -> AsyncIterator[ExportVersionResponse]:
        """One COCO file, in two passes over its images: all of them come before the first annotation."""
        document = coco.Document(plan.version.class_names, plan.reference)
        pieces = Pieces(path)

        def entry(asset: Asset) -> coco.Image:
            return coco.Image(asset.ordinal + 1, plan.image_path(asset, _stem(plan, asset, repeated)), asset.width, asset.height)

        def images(assets: Sequence[Asset]) -> None:
            messages.add(pieces.feed(document.images(map(entry, assets))))

        def annotations(assets: Sequence[Asset]) -> None:
            for asset in assets:
                messages.add(pieces.feed(document.annotations(entry(asset), asset.annotations or b"")))

        messages.add(pieces.feed(document.start()))
        async for assets in self._pages(plan, ordinals, annotations=False):
            await asyncio.to_thread(images, assets)
            for message in messages.full():
                yield message
        messages.add(pieces.feed(document.turn()))
        async for assets in self._pages(plan, ordinals, annotations=True):
            await asyncio.to_thread(annotations, assets)
            for message in messages.full():
                yield message
        messages.add([*pieces.feed(document.end()), pieces.end()])


def _stem(plan: Plan, asset: Asset, repeated: arrays.Array) -> str:
    stem = plan.stem(asset.ordinal, asset.path)
    key = names.key(stem)
    at = int(np.searchsorted(repeated, np.uint64(key)))
    return names.numbered(stem, asset.ordinal) if at < len(repeated) and int(repeated[at]) == key else stem


def _start(plan: Plan) -> ExportStart:
    split_id = plan.revision.split_id if plan.revision else ""
    return ExportStart(reference=plan.reference, version_id=plan.version.version_id, split_id=split_id, image_count=len(plan.chosen))


def _end(plan: Plan) -> ExportEnd:
    return ExportEnd(
        file_count=plan.file_count,
        image_count=len(plan.chosen),
        version_digest=plan.version.digest,
        split_digest=plan.revision.digest if plan.revision else "",
        part_digests=convert.part_digests(plan.part_digests),
    )


def _empty(message: str, field: str, split: str = "") -> PlatformError:
    return precondition(Reason.ERROR_REASON_SPLIT_EMPTY, message, metadata={"split": split} if split else None, field=field)
