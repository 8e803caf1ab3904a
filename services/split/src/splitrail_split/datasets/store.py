"""Datasets, committed versions and their images in Postgres. Reads take the caller's scope, or the id of what a scoped
read has found.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.types.json import Jsonb
from splitrail_common import ids
from splitrail_common.access import Scope
from splitrail_common.database import Connection, Pool, Row, Tables
from splitrail_common.errors import not_found
from splitrail_common.repeats import RequestKey

from splitrail_split.contents.store import ContentStore
from splitrail_split.datasets.class_ids import stable_ids
from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Asset, Dataset, Version, VersionState
from splitrail_split.projects.store import ProjectStore

_ASSET_TYPES = ("uuid", "int4", "bytea", "text", "int4", "int4", "int8", "text", "int2", "bytea", "text", "jsonb")
_TAKEN = {
    "dataset_name_unique": "name",
    "dataset_external_unique": "external_id",
    "dataset_request_unique": "request_id",
}


@dataclass(frozen=True, slots=True)
class NewDataset:
    """A dataset to be made."""

    project_id: str
    name: str
    task: int
    external_id: str
    labels: Mapping[str, str]
    key: RequestKey


@dataclass(frozen=True, slots=True)
class DatasetUpdate:
    """What to change of a dataset; None: it stays. `etag` empty: without that check."""

    external_id: str | None
    labels: Mapping[str, str] | None
    etag: str
    request_id: str


@dataclass(frozen=True, slots=True)
class LockedDataset:
    """The counters of a dataset, locked until the transaction ends."""

    dataset_id: str
    project_id: str
    task: int
    latest_version: int
    next_class_id: int


class PinnedError(Exception):
    """Something uses what was to be deleted: a job, or a draft."""

    def __init__(self, kind: str, pinned_by: str) -> None:
        super().__init__(kind, pinned_by)
        self.kind = kind
        self.pinned_by = pinned_by


class TakenError(Exception):
    """A dataset's name, external_id or request_id is another one's. `field` says which."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class RequestKnownError(Exception):
    """The request_id belongs to an update with other values."""


class DatasetStore:
    """What is stored of datasets and versions."""

    def __init__(self, pool: Pool, projects: ProjectStore, contents: ContentStore, cache: arrays.ArrayCache) -> None:
        self._tables = Tables(pool, "splitrail_split.datasets")
        self._projects = projects
        self._contents = contents
        self._cache = cache

    async def get_dataset(self, scope: Scope, dataset_id: str) -> Dataset | None:
        """By id."""
        row = await self._tables.one("get_dataset", {"dataset_id": dataset_id, "scope": scope.sql()})
        return Dataset(**row) if row else None

    async def find_dataset(self, scope: Scope, project_id: str, name: str) -> Dataset | None:
        """By name."""
        row = await self._tables.one("find_dataset", {"project_id": project_id, "name": name, "scope": scope.sql()})
        return Dataset(**row) if row else None

    async def made_by(self, project_id: str, key: RequestKey) -> str | None:
        """The id of the dataset that an earlier call with this key has made. Raises INVALID_ARGUMENT when that was
        another request.
        """
        if not key.request_id:
            return None
        row = await self._tables.one(
            "find_dataset_by_request", {"project_id": project_id, "request_id": key.request_id}
        )
        if row is None:
            return None
        key.require_same(row["request_digest"])
        return str(row["dataset_id"])

    async def list_datasets(
        self, scope: Scope, *, project_id: str, name: str, external_id: str, before: str | None, limit: int
    ) -> list[Dataset]:
        """Newest first, those made before the dataset `before`; empty strings do not filter."""
        parameters = {
            "scope": scope.sql(),
            "project_id": project_id,
            "name": name,
            "external_id": external_id,
            "before": before,
            "limit": limit,
        }
        return [Dataset(**row) for row in await self._tables.rows("list_datasets", parameters)]

    async def create_dataset(self, new: NewDataset) -> str:
        """The id of a new dataset. Raises TakenError, FAILED_PRECONDITION (PROJECT_ARCHIVED)."""
        values = {
            "dataset_id": ids.new_id(),
            "project_id": new.project_id,
            "name": new.name,
            "task": new.task,
            "external_id": new.external_id,
            "labels": Jsonb(dict(new.labels)),
            "request_id": new.key.request_id,
            "request_digest": new.key.digest,
        }
        try:
            async with self._projects.writing(new.project_id) as connection:
                await self._tables.run_in(connection, "create_dataset", values)
        except psycopg.errors.UniqueViolation as error:
            raise TakenError(_TAKEN[error.diag.constraint_name or ""]) from error
        return str(values["dataset_id"])

    async def update_dataset(self, scope: Scope, dataset: Dataset, update: DatasetUpdate) -> bool:
        """Changes a dataset; False when its etag is another one, though not by the same request. Raises NOT_FOUND,
        TakenError, RequestKnownError, FAILED_PRECONDITION (PROJECT_ARCHIVED).
        """
        dataset_id = dataset.dataset_id
        named = {"dataset_id": dataset_id, "scope": scope.sql()}
        try:
            async with self._projects.writing(dataset.project_id) as connection:
                last = await self._tables.one_in(connection, "lock_update", named)
                row = await self._tables.one_in(connection, "get_dataset", named)
                if last is None or row is None:
                    raise not_found("dataset", dataset_id)
                found = Dataset(**row)
                external_id = found.external_id if update.external_id is None else update.external_id
                labels = found.labels if update.labels is None else dict(update.labels)
                if update.request_id and update.request_id == last["update_request_id"]:
                    if (external_id, labels) != (found.external_id, found.labels):
                        raise RequestKnownError
                    return True
                if update.etag not in ("", found.etag):
                    return False
                values = {
                    "dataset_id": dataset_id,
                    "external_id": external_id,
                    "labels": Jsonb(labels),
                    "request_id": update.request_id,
                }
                await self._tables.run_in(connection, "update_dataset", values)
                return True
        except psycopg.errors.UniqueViolation as error:
            raise TakenError(_TAKEN[error.diag.constraint_name or ""]) from error

    async def ensure_dataset(self, connection: Connection, project_id: str, name: str, task: int) -> LockedDataset:
        """The dataset of this name, locked; made if need be, and made again if it is deleted in between."""
        named = {"project_id": project_id, "name": name}
        while True:
            await self._tables.run_in(connection, "ensure_dataset", {**named, "dataset_id": ids.new_id(), "task": task})
            if row := await self._tables.one_in(connection, "lock_dataset_by_name", named):
                return LockedDataset(**row)

    async def lock_dataset(self, connection: Connection, scope: Scope, dataset_id: str) -> LockedDataset:
        """Locks a dataset, before a version or class of it is added or deleted. Raises NOT_FOUND."""
        row = await self._tables.one_in(connection, "lock_dataset", {"dataset_id": dataset_id, "scope": scope.sql()})
        if row is None:
            raise not_found("dataset", dataset_id)
        return LockedDataset(**row)

    async def delete_dataset(self, scope: Scope, dataset: Dataset) -> None:
        """Deletes a dataset with all that is in it. Raises PinnedError, NOT_FOUND, FAILED_PRECONDITION
        (PROJECT_ARCHIVED).
        """
        async with self._projects.writing(dataset.project_id) as connection:
            # Not FOR UPDATE: a call that splits a version holds the version and would wait for this lock, and this call
            # for that version.
            await self.lock_dataset(connection, scope, dataset.dataset_id)
            named = {"dataset_id": dataset.dataset_id, "version_id": None}
            versions = await self._tables.rows_in(connection, "lock_versions", named)
            await self._tables.run_in(connection, "delete_drafts_of_dataset", named)
            await self._delete_versions(connection, [row["version_id"] for row in versions])
            await self._tables.run_in(connection, "delete_dataset", named)
            await self._contents.request_sweep_in(connection, dataset.project_id)

    async def get_version(self, scope: Scope, version_id: str) -> Version | None:
        """By id; drafts that are not committed too."""
        row = await self._tables.one("get_version", {"version_id": version_id, "scope": scope.sql()})
        return _version(row) if row else None

    async def find_version(self, dataset_id: str, number: int) -> Version | None:
        """By number; 0: the newest."""
        row = await self._tables.one("find_version", {"dataset_id": dataset_id, "number": number})
        return _version(row) if row else None

    async def get_versions(self, version_ids: Sequence[str]) -> dict[str, Version]:
        """By ids, those that are there."""
        return {
            row["version_id"]: _version(row)
            for row in await self._tables.rows("get_versions", {"version_ids": list(version_ids)})
        }

    async def newest_version(self, connection: Connection, dataset_id: str) -> Version | None:
        """The newest one, within a transaction."""
        row = await self._tables.one_in(connection, "find_version", {"dataset_id": dataset_id, "number": 0})
        return _version(row) if row else None

    async def list_versions(self, dataset_id: str, *, before: int | None, limit: int) -> list[Version]:
        """Newest first, those with a number below `before`."""
        parameters = {"dataset_id": dataset_id, "before": before, "limit": limit}
        return [_version(row) for row in await self._tables.rows("list_versions", parameters)]

    async def keep_version(self, connection: Connection, dataset_id: str, version_id: str) -> None:
        """Keeps a version from being deleted until the transaction ends. Raises NOT_FOUND."""
        if (
            await self._tables.one_in(connection, "keep_version", {"dataset_id": dataset_id, "version_id": version_id})
            is None
        ):
            raise not_found("version", version_id)

    async def insert_version(self, connection: Connection, version: Row, *, next_class_id: int) -> None:
        """Stores the row of a version and makes it the dataset's latest; the caller holds the dataset's row."""
        await self._tables.run_in(connection, "insert_version", version)
        latest = {"dataset_id": version["dataset_id"], "number": version["number"], "next_class_id": next_class_id}
        await self._tables.run_in(connection, "set_latest_version", latest)

    async def insert_columns(self, connection: Connection, version_id: str, columns: Mapping[str, bytes]) -> None:
        """Stores the columns of a version."""
        for name, data in columns.items():
            await self._tables.run_in(
                connection, "insert_array", {"version_id": version_id, "name": name, "data": data}
            )

    async def insert_assets(self, connection: Connection, version_id: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Stores the images of a version, each as `version_asset`'s columns after version_id."""
        async with connection.cursor() as cursor, cursor.copy(self._tables.sql["copy_version_assets"]) as copy:
            copy.set_types(_ASSET_TYPES)
            version_uuid = UUID(version_id)
            for row in rows:
                await copy.write_row((version_uuid, *row))

    async def delete_version(self, scope: Scope, version: Version) -> None:
        """Deletes a committed version with its splits. Raises PinnedError, NOT_FOUND, FAILED_PRECONDITION
        (PROJECT_ARCHIVED).
        """
        async with self._projects.writing(version.project_id) as connection:
            await self.lock_dataset(connection, scope, version.dataset_id)
            named = {"dataset_id": version.dataset_id, "version_id": version.version_id}
            if await self._tables.one_in(connection, "lock_versions", named) is None:
                raise not_found("version", version.version_id)
            if draft := await self._tables.one_in(connection, "draft_of_version", named):
                raise PinnedError("draft", draft["version_id"])
            await self._delete_versions(connection, [version.version_id])
            await self._contents.request_sweep_in(connection, version.project_id)

    async def _delete_versions(self, connection: Connection, version_ids: Sequence[str]) -> None:
        values = {"version_ids": list(version_ids)}
        await self._tables.rows_in(connection, "lock_splits_of_versions", values)
        if pin := await self._tables.one_in(connection, "pin_of_versions", values):
            raise PinnedError("job", pin["job_id"])
        await self.forget_requests(connection, version_ids)
        await self._tables.run_in(connection, "delete_versions", values)

    async def forget_requests(self, connection: Connection, version_ids: Sequence[str]) -> None:
        """Clears the request_ids of the imports that made these versions: importing the same source again makes a new
        version.
        """
        await self._tables.run_in(connection, "forget_requests_of_versions", {"version_ids": list(version_ids)})

    async def earlier_class_ids(self, connection: Connection, dataset_id: str, names: Sequence[str]) -> dict[str, int]:
        """The stable id that each of these names last had in the dataset."""
        rows = await self._tables.rows_in(
            connection, "class_ids_by_name", {"dataset_id": dataset_id, "names": list(names)}
        )
        return {row["name"]: row["class_id"] for row in rows}

    async def stable_class_ids(
        self, connection: Connection, dataset: LockedDataset, names: Sequence[str]
    ) -> tuple[list[int], int]:
        """The stable ids of classes by their names, and the next free one."""
        return stable_ids(
            names, await self.earlier_class_ids(connection, dataset.dataset_id, names), dataset.next_class_id
        )

    async def set_next_class_id(self, connection: Connection, dataset_id: str, next_class_id: int) -> None:
        """After classes were added without a version."""
        await self._tables.run_in(
            connection, "set_next_class_id", {"dataset_id": dataset_id, "next_class_id": next_class_id}
        )

    async def page_assets(self, version_id: str, *, after: int, limit: int, annotations: bool) -> list[Asset]:
        """Images with ordinals above `after`."""
        parameters = {"version_id": version_id, "after": after, "limit": limit, "annotations": annotations}
        return [Asset(**row) for row in await self._tables.rows("page_assets", parameters)]

    async def get_assets(self, version_id: str, ordinals: npt.NDArray[np.integer], *, annotations: bool) -> list[Asset]:
        """The images with these ordinals."""
        parameters = {"version_id": version_id, "ordinals": ordinals.tolist(), "annotations": annotations}
        return [Asset(**row) for row in await self._tables.rows("get_assets", parameters)]

    async def search_assets(
        self,
        version_id: str,
        *,
        after: int,
        limit: int,
        annotations: bool,
        path_prefix: str,
        metadata: Mapping[str, str],
        chosen: npt.NDArray[np.bool_] | None,
    ) -> list[Asset]:
        """Images with ordinals above `after` that match everything; chosen (N,): only these."""
        parameters = {
            "version_id": version_id,
            "after": after,
            "limit": limit,
            "annotations": annotations,
            "path_prefix": path_prefix,
            "metadata": Jsonb(dict(metadata)),
            "chosen": None if chosen is None else np.packbits(chosen, bitorder="little").tobytes(),
        }
        return [Asset(**row) for row in await self._tables.rows("search_assets", parameters)]

    async def dataset_holds(self, dataset_id: str, sha256: bytes) -> bool:
        """True when a version of the dataset has an image with this content."""
        return await self._tables.one("dataset_holds", {"dataset_id": dataset_id, "sha256": sha256}) is not None

    async def array(self, version_id: str, name: str) -> arrays.Array:
        """A column of a committed version; read-only.

        Raises LookupError when the version has none of that name, NOT_FOUND when it was deleted meanwhile.
        """

        async def load() -> arrays.Array:
            row = await self._tables.one("get_array", {"version_id": version_id, "name": name})
            if row is None and await self.get_version(Scope(None), version_id) is None:
                raise not_found("version", version_id)
            if row is None:
                raise LookupError(f"version {version_id} has no array {name!r}")
            return arrays.decode(name, row["data"])

        return await self._cache.get(version_id, name, load)

    async def labels(self, version_id: str) -> arrays.Labels:
        """The classes of a version's objects."""
        return arrays.labels(
            await self.array(version_id, arrays.OBJECTS), await self.array(version_id, arrays.CLASS_IDS)
        )

    async def paths(self, version_id: str) -> list[str]:
        """The path of every image, by ordinal."""
        return [row["path"] for row in await self._tables.rows("list_paths", {"version_id": version_id})]

    async def metadata(self, version_id: str, key: str) -> list[str]:
        """Every image's metadata under a key, by ordinal; empty where it has none."""
        return [
            row["value"] for row in await self._tables.rows("list_metadata", {"version_id": version_id, "key": key})
        ]

    async def find_ordinals(self, version_id: str, by: str, values: Sequence[str]) -> list[tuple[str, int]]:
        """(value, ordinal) of the images with one of these values of sha256 (hex), external_id or path."""
        wanted = [bytes.fromhex(value) for value in values] if by == "sha256" else list(values)
        rows = await self._tables.rows(f"find_by_{by}", {"version_id": version_id, "values": wanted})
        return [(row["value"].hex() if by == "sha256" else row["value"], row["ordinal"]) for row in rows]


def _version(row: Row) -> Version:
    return Version(**{**row, "state": VersionState(row["state"])})
