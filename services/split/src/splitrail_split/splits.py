"""Use cases of split revisions: make, find, pin, delete, compare by content, and what pods stage of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import grpc
import numpy as np
import numpy.typing as npt
from splitrail.split.v1 import split_service_pb2
from splitrail_common import ids
from splitrail_common.access import Scope
from splitrail_common.errors import PlatformError, Reason, Violation, invalid, not_found, precondition
from splitrail_common.objects import ObjectStore
from splitrail_common.tokens import Caller

from splitrail_split import arrays, convert, digest, stratify
from splitrail_split.annotations import LabelState
from splitrail_split.certificate import certify
from splitrail_split.domain import PART_NAMES, PARTS, Asset, Revision, SplitParameters, Version, asset_key
from splitrail_split.service import Datasets, require_committed, split_missing
from splitrail_split.split_store import NewRevision, RequestUsedError, SplitStore
from splitrail_split.store import DatasetStore

MANIFEST_URL_LIFETIME = timedelta(hours=1)
_MANIFEST_ROWS = 500
_MANIFEST_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Overlap:
    """Images of an evaluated part, and how many of them were trained on."""

    images: int
    overlap: int


@dataclass(frozen=True, slots=True)
class _Columns:
    """What assigning needs of a version."""

    content: arrays.Array
    annotation: arrays.Array
    label_state: arrays.Array
    labels: arrays.Labels


class Splits:
    """What callers do with split revisions."""

    def __init__(self, store: SplitStore, dataset_store: DatasetStore, datasets: Datasets, objects: ObjectStore) -> None:
        self._store = store
        self._columns_of = dataset_store
        self._datasets = datasets
        self._objects = objects

    async def create(self, scope: Scope, dataset_id: str, version_id: str, parameters: SplitParameters, request_id: str) -> Revision:
        """Splits a version and makes the revision the current one; the same request_id gives the same revision.

        Raises NOT_FOUND, FAILED_PRECONDITION (VERSION_STATE, SPLIT_EMPTY), INVALID_ARGUMENT when the request_id belongs to another request.
        """
        version = await self._datasets.version(scope, dataset_id, version_id)
        require_committed(version)
        if earlier := await self._earlier(scope, version, parameters, request_id):
            return earlier
        columns = _Columns(
            await self._columns_of.array(version_id, arrays.CONTENT),
            await self._columns_of.array(version_id, arrays.ANNOTATION),
            await self._columns_of.array(version_id, arrays.LABEL_STATE),
            await self._columns_of.labels(version_id),
        )
        if version.unlabelled_count == version.image_count:
            raise precondition(
                Reason.ERROR_REASON_SPLIT_EMPTY, f"nobody has labelled an image of {version.reference}: there is nothing to split", field="version_id"
            )
        new = await asyncio.to_thread(make_revision, version, columns, parameters, request_id)
        try:
            await self._store.add(version, new)
        except RequestUsedError:
            if earlier := await self._earlier(scope, version, parameters, request_id):
                return earlier
            raise not_found("split", request_id) from None
        return await self.get(scope, new.split_id)

    async def _earlier(self, scope: Scope, version: Version, parameters: SplitParameters, request_id: str) -> Revision | None:
        split_id = await self._store.find_by_request(version.project_id, request_id) if request_id else None
        if split_id is None:
            return None
        revision = await self.get(scope, split_id)
        if (revision.version_id, revision.parameters) != (version.version_id, parameters):
            raise invalid(Violation("request_id", f"was used for {revision.reference} with other parameters: use a new one"))
        return revision

    async def get(self, scope: Scope, split_id: str) -> Revision:
        """By id. Raises NOT_FOUND."""
        found = await self._store.get(scope, split_id)
        if found is None:
            raise not_found("split", split_id)
        return found

    async def current(self, scope: Scope, dataset_id: str, version_id: str) -> Revision:
        """The current revision of a version. Raises NOT_FOUND, FAILED_PRECONDITION (SPLIT_MISSING)."""
        version = await self._datasets.version(scope, dataset_id, version_id)
        if version.current_split_id is None:
            raise split_missing(version)
        return await self.get(scope, version.current_split_id)

    async def of_version(self, scope: Scope, dataset_id: str, version_id: str, before: int | None, limit: int) -> list[Revision]:
        """Newest first; up to `limit`. Raises NOT_FOUND for the version."""
        await self._datasets.version(scope, dataset_id, version_id)
        return await self._store.of_version(version_id, before=before, limit=limit)

    async def delete(self, scope: Scope, split_id: str) -> None:
        """Raises NOT_FOUND, FAILED_PRECONDITION (PINNED)."""
        pinned_by = await self._store.delete(scope, split_id)
        if pinned_by:
            raise precondition(
                Reason.ERROR_REASON_PINNED, f"the job {pinned_by} uses this split: it stays", metadata={"pinned_by": pinned_by}, field="split_id"
            )

    async def pin(self, scope: Scope, split_id: str, job_id: str) -> None:
        """Marks a revision as used by a job. Raises NOT_FOUND."""
        if not await self._store.pin(scope, split_id, job_id):
            raise not_found("split", split_id)

    async def contamination(self, scope: Scope, split_id: str, part: int, trained_split_id: str) -> Overlap:
        """How much of a revision's part another revision's train and val hold, by content. Raises NOT_FOUND."""
        evaluated, trained = await self.get(scope, split_id), await self.get(scope, trained_split_id)
        vector = await self._columns_of.vector(split_id)
        content = await self._columns_of.array(evaluated.version_id, arrays.CONTENT)
        trained_vector = await self._columns_of.vector(trained_split_id)
        trained_content = await self._columns_of.array(trained.version_id, arrays.CONTENT)

        def count() -> Overlap:
            judged = content[vector == part]
            seen = trained_content[np.isin(trained_vector, (PARTS["train"], PARTS["val"]))]
            return Overlap(len(judged), arrays.count_common(judged, [seen]))

        return await asyncio.to_thread(count)

    async def manifest(
        self, caller: Caller, scope: Scope, split_id: str, parts: Sequence[int], after: int
    ) -> AsyncIterator[split_service_pb2.StreamManifestResponse]:
        """Images of these parts with ordinals above `after`, then the end. Raises NOT_FOUND, PERMISSION_DENIED for what the attempt may not see."""
        _allow(caller, split_id, parts)
        revision = await self.get(scope, split_id)
        version = await self._datasets.version(scope, revision.dataset_id, revision.version_id)
        vector = await self._columns_of.vector(split_id)
        wanted = np.flatnonzero(np.isin(vector, parts))
        rest = wanted[np.searchsorted(wanted, after, side="right") :]
        for start in range(0, len(rest), _MANIFEST_ROWS):
            assets = await self._columns_of.get_assets(version.version_id, rest[start : start + _MANIFEST_ROWS], annotations=True)
            for message in await asyncio.to_thread(self._messages, revision.project_id, assets, vector):
                yield message
        digests = [one if PARTS[name] in parts else "" for name, one in zip(PART_NAMES, revision.part_digests, strict=True)]
        end = split_service_pb2.ManifestEnd(class_names=version.class_names, image_count=len(wanted), part_digests=convert.part_digests(digests))
        yield split_service_pb2.StreamManifestResponse(end=end)

    def _messages(self, project_id: str, assets: Sequence[Asset], vector: npt.NDArray[np.uint8]) -> list[split_service_pb2.StreamManifestResponse]:
        """Entries with signed URLs, in messages of bounded size."""
        messages = [split_service_pb2.StreamManifestResponse()]
        held = 0
        for asset in assets:
            url = self._objects.download_url(asset_key(project_id, asset.sha256), MANIFEST_URL_LIFETIME)
            entry = convert.manifest_entry(asset, int(vector[asset.ordinal]), url)
            size = entry.ByteSize()
            if held and held + size > _MANIFEST_BYTES:
                messages.append(split_service_pb2.StreamManifestResponse())
                held = 0
            messages[-1].entries.append(entry)
            held += size
        return messages


def make_revision(version: Version, columns: _Columns, parameters: SplitParameters, request_id: str) -> NewRevision:
    """Assigns, judges and digests: pure, seconds for a million images. Images that nobody has labelled are in no part."""
    looked_at = columns.label_state != LabelState.UNLABELLED
    n_classes = len(version.class_names)
    labels = columns.labels
    # Unlabelled images hold no objects, so leaving them out leaves class_ids as they are.
    counts = np.diff(labels.indptr)[looked_at]
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    mode: stratify.Mode = "stratified" if parameters.stratify else "random"
    vector = np.zeros(len(looked_at), dtype=np.uint8)
    content = columns.content[looked_at].astype(np.uint8, copy=False)
    ratios, seed = parameters.ratios, parameters.seed
    vector[looked_at] = stratify.assign(content, indptr, labels.class_ids, n_classes=n_classes, ratios=ratios, seed=seed, mode=mode)
    made = certify(vector, labels.indptr, labels.class_ids, n_classes=n_classes, ratios=ratios, class_names=version.class_names, seed=seed)
    findings = []
    if version.unlabelled_count:
        findings.append(f"{version.unlabelled_count} images that nobody has labelled are in no part of the split")
    parts = [vector == number for number in PARTS.values()]
    train, val, test = (
        digest.part_digest(columns.content[mask].astype(np.uint8, copy=False), columns.annotation[mask].astype(np.uint8, copy=False))
        for mask in parts
    )
    return NewRevision(
        split_id=ids.new_id(),
        parameters=parameters,
        algorithm_version=str(stratify.ALGORITHM_VERSION),
        vector=arrays.encode_vector(vector),
        digest=digest.revision_digest(train, val, test, version.class_names),
        part_digests=[train, val, test],
        certificate=convert.certificate(made, version.class_names, parameters.ratios, findings).SerializeToString(deterministic=True),
        request_id=request_id,
    )


def _allow(caller: Caller, split_id: str, parts: Sequence[int]) -> None:
    """Raises PERMISSION_DENIED unless the attempt's token names this revision and every one of these parts."""
    names = [PART_NAMES[part - 1] for part in parts]
    refused = [name for name in names if name not in caller.splits]
    if caller.split_id == split_id and not refused:
        return
    message = f"this attempt may not read {' and '.join(refused)}" if caller.split_id == split_id else "this attempt may read another split only"
    raise PlatformError(
        grpc.StatusCode.PERMISSION_DENIED,
        Reason.ERROR_REASON_ROLE_MISSING,
        message,
        metadata={"required": f"an attempt's token for {', '.join(names)} of {split_id}"},
    )
