"""Use cases of datasets and their committed versions: make, find, list, resolve what people write, show an image small,
delete.
"""

from splitrail_common import ids
from splitrail_common.access import Scope
from splitrail_common.errors import (
    PlatformError,
    Reason,
    Violation,
    already_exists,
    etag_mismatch,
    invalid,
    not_found,
    precondition,
)
from splitrail_common.paging import Page

from splitrail_split.contents.thumbnails import Thumbnails
from splitrail_split.datasets.splits import VersionSplits
from splitrail_split.datasets.store import (
    DatasetStore,
    DatasetUpdate,
    NewDataset,
    PinnedError,
    RequestKnownError,
    TakenError,
)
from splitrail_split.domain.datasets import Dataset, Version, parse_reference
from splitrail_split.projects.service import Projects


class Datasets:
    """What callers do with datasets and versions."""

    def __init__(self, store: DatasetStore, projects: Projects, splits: VersionSplits, thumbnails: Thumbnails) -> None:
        self._store = store
        self._projects = projects
        self._splits = splits
        self._thumbnails = thumbnails

    async def create(self, scope: Scope, new: NewDataset) -> Dataset:
        """A new dataset, or the one that the same request has made. Raises NOT_FOUND for the project, ALREADY_EXISTS,
        FAILED_PRECONDITION (PROJECT_ARCHIVED), INVALID_ARGUMENT when the request_id belongs to another request.
        """
        await self._projects.get(scope, new.project_id)
        if dataset_id := await self._store.made_by(new.project_id, new.key):
            return await self.dataset(scope, dataset_id)
        await self._projects.require_active(scope, new.project_id)
        try:
            dataset_id = await self._store.create_dataset(new)
        except TakenError as taken:
            # Perhaps taken by the same request, sent twice at once.
            if dataset_id := await self._store.made_by(new.project_id, new.key):
                return await self.dataset(scope, dataset_id)
            values = {"name": new.name, "external_id": new.external_id, "request_id": new.key.request_id}
            raise already_exists("dataset", values[taken.field], taken.field) from taken
        return await self.dataset(scope, dataset_id)

    async def dataset(self, scope: Scope, dataset_id: str) -> Dataset:
        """By id. Raises NOT_FOUND."""
        found = await self._store.get_dataset(scope, dataset_id)
        if found is None:
            raise not_found("dataset", dataset_id)
        return found

    async def datasets(
        self, scope: Scope, *, project_id: str, name: str, external_id: str, before: str | None, limit: int
    ) -> Page[Dataset]:
        """Newest first. Raises NOT_FOUND for a project that the caller cannot see."""
        if project_id:
            await self._projects.get(scope, project_id)
        found = await self._store.list_datasets(
            scope, project_id=project_id, name=name, external_id=external_id, before=before, limit=limit + 1
        )
        return Page.of(found, limit)

    async def update(self, scope: Scope, dataset_id: str, update: DatasetUpdate) -> Dataset:
        """The changed dataset.

        Raises NOT_FOUND, ABORTED (ETAG_MISMATCH), ALREADY_EXISTS, FAILED_PRECONDITION (PROJECT_ARCHIVED),
        INVALID_ARGUMENT.
        """
        dataset = await self.require_active(scope, dataset_id)
        try:
            updated = await self._store.update_dataset(scope, dataset, update)
        except TakenError as taken:
            raise already_exists("dataset", str(getattr(update, taken.field)), taken.field) from taken
        except RequestKnownError as error:
            raise invalid(
                Violation("request_id", "was used for another update of this dataset: use a new one")
            ) from error
        found = await self.dataset(scope, dataset_id)
        if not updated:
            raise etag_mismatch(found.etag)
        return found

    async def require_active(self, scope: Scope, dataset_id: str) -> Dataset:
        """A dataset that can be changed. Raises NOT_FOUND, FAILED_PRECONDITION (PROJECT_ARCHIVED)."""
        found = await self.dataset(scope, dataset_id)
        await self._projects.require_active(scope, found.project_id)
        return found

    async def delete(self, scope: Scope, dataset_id: str) -> None:
        """Deletes a dataset with all that is in it. Raises NOT_FOUND, FAILED_PRECONDITION (PINNED, PROJECT_ARCHIVED)."""
        found = await self.require_active(scope, dataset_id)
        try:
            await self._store.delete_dataset(scope, found)
        except PinnedError as pinned:
            raise _pinned(pinned, found.name, "dataset_id") from pinned

    async def version(self, scope: Scope, dataset_id: str, version_id: str) -> Version:
        """By id, within its dataset (empty: any). Raises NOT_FOUND."""
        found = await self._store.get_version(scope, version_id)
        if found is None or (dataset_id and found.dataset_id != dataset_id):
            raise not_found("version", version_id)
        return found

    async def versions(self, scope: Scope, dataset_id: str, before: int | None, limit: int) -> Page[Version]:
        """Newest first. Raises NOT_FOUND for the dataset."""
        await self.dataset(scope, dataset_id)
        return Page.of(await self._store.list_versions(dataset_id, before=before, limit=limit + 1), limit)

    async def newest(self, scope: Scope, dataset_id: str) -> Version:
        """The newest committed version. Raises NOT_FOUND."""
        dataset = await self.dataset(scope, dataset_id)
        found = await self._store.find_version(dataset_id, 0)
        if found is None:
            raise not_found("version", f"{dataset.name}@v1")
        return found

    async def resolve(self, scope: Scope, project_id: str, reference: str) -> tuple[Version, str]:
        """The version, and the split revision or "", that a reference or a version's id means. Raises INVALID_ARGUMENT,
        NOT_FOUND.
        """
        if ids.is_uuid(reference):
            version = await self.version(scope, "", reference)
            return version, version.current_split_id or ""
        wanted = parse_reference(reference)
        if wanted is None:
            shown = repr(reference[:100])
            raise invalid(
                Violation(
                    "reference", f"{shown} is none of: name, name@v3, name@v3#2 (version 3, split 2), or a version's id"
                )
            )
        await self._projects.get(scope, project_id)
        dataset = await self._store.find_dataset(scope, project_id, wanted.name)
        if dataset is None:
            raise not_found("dataset", wanted.name)
        found = await self._store.find_version(dataset.dataset_id, wanted.version)
        if found is None:
            raise not_found("version", f"{wanted.name}@v{wanted.version or 1}")
        if not wanted.split:
            return found, found.current_split_id or ""
        split_id = await self._splits.find(found.version_id, wanted.split)
        if split_id is None:
            raise not_found("split", reference)
        return found, split_id

    async def thumbnail(self, scope: Scope, dataset_id: str, sha256: bytes) -> bytes:
        """A small JPEG. Raises NOT_FOUND for the dataset, or when none of its versions holds the image."""
        dataset = await self.dataset(scope, dataset_id)
        if not await self._store.dataset_holds(dataset_id, sha256):
            raise not_found("image", sha256.hex())
        return await self._thumbnails.get(dataset.project_id, sha256)

    async def delete_version(self, scope: Scope, version: Version) -> None:
        """Deletes a committed version with its splits. Raises NOT_FOUND, FAILED_PRECONDITION (PINNED,
        PROJECT_ARCHIVED).
        """
        await self._projects.require_active(scope, version.project_id)
        try:
            await self._store.delete_version(scope, version)
        except PinnedError as pinned:
            raise _pinned(pinned, version.reference, "version_id") from pinned


def _pinned(pinned: PinnedError, what: str, field: str) -> PlatformError:
    uses = {"job": "uses a split of it", "draft": "is based on it"}[pinned.kind]
    text = f"{what} stays: the {pinned.kind} {pinned.pinned_by} {uses}"
    return precondition(Reason.ERROR_REASON_PINNED, text, metadata={"pinned_by": pinned.pinned_by}, field=field)
