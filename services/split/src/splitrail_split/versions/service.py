"""Use cases of drafts: begin, change, commit, delete."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import grpc
from splitrail_common.access import Scope
from splitrail_common.annotations import LabelState, unpack
from splitrail_common.errors import PlatformError, Reason, Violation, invalid, precondition, unavailable
from splitrail_common.paging import Page
from splitrail_common.repeats import RequestKey

from splitrail_split.contents.verify import UPLOAD_MISSING, Inspected
from splitrail_split.datasets.conditions import require_committed
from splitrail_split.datasets.service import Datasets
from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain.datasets import EXTENSIONS, Dataset, Task, Version, VersionState
from splitrail_split.versions import classes, drafts
from splitrail_split.versions.commit import BaseMovedError, Commits, NoImagesError
from splitrail_split.versions.comparison import Comparisons
from splitrail_split.versions.drafts import Batch, Draft, Upsert
from splitrail_split.versions.incoming import Incoming
from splitrail_split.versions.store import DraftChange, DraftStore, NewDraft


@dataclass(frozen=True, slots=True)
class Upserted:
    """What a batch did, and the draft after it."""

    added: int
    changed: int
    unchanged: int
    draft: Draft


class Versions:
    """What callers do with drafts, and with the versions they become."""

    def __init__(
        self,
        store: DraftStore,
        *,
        dataset_store: DatasetStore,
        datasets: Datasets,
        incoming: Incoming,
        commits: Commits,
        comparisons: Comparisons,
    ) -> None:
        self._store = store
        self._dataset_store = dataset_store
        self._datasets = datasets
        self._incoming = incoming
        self._commits = commits
        self._comparisons = comparisons

    async def begin(
        self, scope: Scope, dataset_id: str, base_version_id: str, class_names: Sequence[str], key: RequestKey
    ) -> Version:
        """A new draft, or what the draft that the same request has begun is by now.

        Raises NOT_FOUND, FAILED_PRECONDITION (VERSION_STATE) for a base that is a draft, (PROJECT_ARCHIVED),
        INVALID_ARGUMENT, also when the request_id belongs to another request.
        """
        dataset = await self._datasets.dataset(scope, dataset_id)
        version_id = None
        # Another call with this request_id may begin one meanwhile, and that one may be deleted before it is looked
        # for.
        while version_id is None:
            earlier = await self._store.made_by(dataset.project_id, key)
            version_id = earlier or await self._begin(scope, dataset, base_version_id, class_names, key)
        return await self._datasets.version(scope, dataset_id, version_id)

    async def _begin(
        self, scope: Scope, dataset: Dataset, base_version_id: str, class_names: Sequence[str], key: RequestKey
    ) -> str | None:
        """The id of a new draft; None when its request_id is that of another one."""
        await self._datasets.require_active(scope, dataset.dataset_id)
        base = await self._datasets.version(scope, dataset.dataset_id, base_version_id) if base_version_id else None
        if base is not None:
            require_committed(base, field="base_version_id")
        return await self._store.begin(
            scope, NewDraft(dataset, base, base.class_names if base else list(class_names), key)
        )

    async def drafts(self, scope: Scope, dataset_id: str, before: str | None, limit: int) -> Page[Draft]:
        """Newest first. Raises NOT_FOUND for the dataset."""
        await self._datasets.dataset(scope, dataset_id)
        return Page.of(await self._store.of_dataset(dataset_id, before=before, limit=limit + 1), limit)

    async def draft(self, scope: Scope, dataset_id: str, version_id: str) -> Draft:
        """A draft that can be changed. Raises NOT_FOUND, FAILED_PRECONDITION (VERSION_STATE, PROJECT_ARCHIVED)."""
        found = await self._store.get(scope, version_id)
        if found is None or found.committed_version_id or (dataset_id and found.dataset_id != dataset_id):
            committed_id = found.committed_version_id if found else None
            raise _committed((await self._datasets.version(scope, dataset_id, committed_id or version_id)).reference)
        await self._datasets.require_active(scope, found.dataset_id)
        return found

    async def upsert(self, scope: Scope, draft: Draft, upserts: Sequence[Upsert]) -> Upserted:
        """Adds and changes images: all, or none.

        Raises INVALID_ARGUMENT with the fields of each wrong entry, FAILED_PRECONDITION (VERSION_STATE,
        UPLOAD_MISSING), UNAVAILABLE.
        """
        contents = sorted({one.sha256 for one in upserts if one.sha256})
        inspected = await self._incoming.take(draft.project_id, contents) if contents else Inspected()
        _require_contents(upserts, inspected)
        extensions = {sha256: EXTENSIONS[asset.format] for sha256, asset in inspected.good.items()}
        named = [
            replace(one, default_path=one.sha256.hex() + extensions[one.sha256]) if one.sha256 else one
            for one in upserts
        ]
        async with self._store.changing(scope, draft) as change:
            _require_open(change.draft)
            if contents and len(await change.known(contents)) < len(contents):
                raise unavailable("the object store")
            found = await change.find(
                external_ids=[one.external_id for one in named if one.external_id],
                paths=[path for one in named for path in (one.path, one.default_path) if path],
                contents=contents,
            )
            batch = drafts.upserted(found, named)
            _require_right(batch)
            if draft.task == Task.POSE:
                await _require_keypoints(change, upserts)
            if batch.changes:
                n_classes = len(change.draft.class_names)
                before = drafts.tally([one for one, _ in batch.changes if one], n_classes)
                await change.put(batch.changes, drafts.tally([one for _, one in batch.changes], n_classes) - before)
            return Upserted(batch.added, len(batch.changes) - batch.added, batch.unchanged, change.draft)

    async def remove(
        self, scope: Scope, draft: Draft, external_ids: Sequence[str], paths: Sequence[str]
    ) -> tuple[int, Draft]:
        """Removes images; how many the draft held, and the draft after that. Raises FAILED_PRECONDITION
        (VERSION_STATE).
        """
        async with self._store.changing(scope, draft) as change:
            _require_open(change.draft)
            found = await change.find(external_ids=external_ids, paths=paths, contents=())
            if found:
                n_classes = len(change.draft.class_names)
                await change.remove(found, drafts.tally([], n_classes) - drafts.tally(found, n_classes))
            return len(found), change.draft

    async def update_classes(self, scope: Scope, draft: Draft, changes: Sequence[classes.Change]) -> Draft:
        """Changes classes: all, or none. Raises INVALID_ARGUMENT, FAILED_PRECONDITION (VERSION_STATE)."""
        async with self._store.changing_classes(scope, draft) as change:
            _require_open(change.draft)
            earlier = await change.earlier_ids([one.name for one in changes if isinstance(one, classes.Add)])
            try:
                made, next_id = classes.changed(change.draft.classes, changes, earlier, change.next_class_id)
            except classes.ChangeError as error:
                raise invalid(Violation(f"changes[{error.index}].{error.field}", str(error))) from error
            if made != change.draft.classes:
                await change.put(made, next_id)
            return change.draft

    async def commit(self, scope: Scope, dataset_id: str, version_id: str, expected_base_version_id: str) -> Version:
        """The version that a draft becomes, or has become. Raises NOT_FOUND, ABORTED (BASE_MOVED), FAILED_PRECONDITION
        (VERSION_STATE).
        """
        draft = await self._store.get(scope, version_id)
        if draft is None or (dataset_id and draft.dataset_id != dataset_id):
            return await self._datasets.version(scope, dataset_id, version_id)
        await self._datasets.require_active(scope, draft.dataset_id)
        try:
            committed_id = await self._commits.commit(scope, draft, expected_base_version_id or draft.base_version_id)
        except BaseMovedError as moved:
            raise await self._moved(scope, draft, moved) from moved
        except NoImagesError as error:
            text = f"{draft.as_version().reference} holds no image: there is nothing to commit"
            raise precondition(Reason.ERROR_REASON_VERSION_STATE, text, field="version_id") from error
        return await self._datasets.version(scope, draft.dataset_id, committed_id)

    async def _moved(self, scope: Scope, draft: Draft, moved: BaseMovedError) -> PlatformError:
        """ABORTED, with what has changed since."""
        expected = await self._dataset_store.get_version(scope, moved.expected) if moved.expected else None
        if expected is not None and (
            expected.dataset_id != draft.dataset_id or expected.state != VersionState.COMMITTED
        ):
            expected = None
        newest = moved.newest
        found = await self._comparisons.counts(newest, expected)
        wanted = expected.reference if expected else moved.expected or "no version"
        found_there = newest.reference if newest else "none"
        text = (
            f"the newest version of {draft.dataset_name} is {found_there}, not {wanted}: {found.added} images were added, {found.removed} removed,"
            f" {found.changed} changed in between; begin a draft with the newest version, or name it as the expected one"
        )
        metadata = {
            "expected_version_id": moved.expected or "",
            "newest_version_id": newest.version_id if newest else "",
            "newest_number": str(newest.number if newest else 0),
            "added": str(found.added),
            "removed": str(found.removed),
            "changed": str(found.changed),
        }
        return PlatformError(grpc.StatusCode.ABORTED, Reason.ERROR_REASON_BASE_MOVED, text, metadata=metadata)

    async def delete_draft(self, scope: Scope, dataset_id: str, version_id: str) -> None:
        """Raises NOT_FOUND, FAILED_PRECONDITION (VERSION_STATE) for what is committed."""
        draft = await self.draft(scope, dataset_id, version_id)
        if not await self._store.delete_draft(scope, draft.project_id, version_id):
            raise _committed(draft.as_version().reference)

    async def delete_version(self, scope: Scope, dataset_id: str, version_id: str) -> None:
        """Deletes a version or draft. Raises NOT_FOUND, FAILED_PRECONDITION (PINNED)."""
        found = await self._datasets.version(scope, dataset_id, version_id)
        await self._datasets.require_active(scope, found.dataset_id)
        if found.state == VersionState.DRAFT and await self._store.delete_draft(scope, found.project_id, version_id):
            return
        await self._datasets.delete_version(scope, found)


def _require_open(draft: Draft) -> None:
    if draft.committed_version_id is not None:
        raise _committed(draft.as_version().reference)


def _committed(reference: str) -> PlatformError:
    text = f"{reference} has been committed and cannot change: begin a draft with it as base"
    return precondition(Reason.ERROR_REASON_VERSION_STATE, text, field="version_id")


def _require_contents(upserts: Sequence[Upsert], inspected: Inspected) -> None:
    """Every content is an asset by now; else raises with the entries that name the others: INVALID_ARGUMENT, or
    UPLOAD_MISSING if that is all.
    """
    faults = [(index, inspected.bad[one.sha256]) for index, one in enumerate(upserts) if one.sha256 in inspected.bad]
    if not faults:
        return
    violations = [Violation(f"assets[{index}].sha256", f"{fault.code}: {fault.message}") for index, fault in faults]
    if any(fault.code != UPLOAD_MISSING for _, fault in faults):
        raise invalid(*violations)
    text = f"{len(faults)} images are not uploaded; CheckAssets gives the addresses"
    raise PlatformError(
        grpc.StatusCode.FAILED_PRECONDITION,
        Reason.ERROR_REASON_UPLOAD_MISSING,
        text,
        metadata={"missing": str(len(faults))},
        violations=violations,
    )


def _require_right(batch: Batch) -> None:
    if batch.wrong:
        raise invalid(*(Violation(f"assets[{one.index}].{one.field}", one.message) for one in batch.wrong))


async def _require_keypoints(change: DraftChange, upserts: Sequence[Upsert]) -> None:
    """All objects of a version have as many keypoints: as one that is there has, or the first that comes. Raises
    INVALID_ARGUMENT.
    """
    sample = await change.sample()
    wanted = len(unpack(sample)[0].values) if sample else None
    wrong = []
    for index, one in enumerate(upserts):
        if one.annotations is None or one.label_state != LabelState.LABELLED:
            continue
        for annotation in unpack(one.annotations):
            wanted = wanted or len(annotation.values)
            if len(annotation.values) != wanted:
                count, others = (len(annotation.values) - 4) // 3, (wanted - 4) // 3
                wrong.append(
                    Violation(
                        f"assets[{index}].annotations",
                        f"an object has {count} keypoints, others of the draft have {others}",
                    )
                )
                break
    if wrong:
        raise invalid(*wrong)
