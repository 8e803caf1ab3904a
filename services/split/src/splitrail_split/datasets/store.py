"""Datasets, versions and their images in Postgres. Reads take the caller's scope, or the id of what a scoped read has found."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
from psycopg.types.json import Jsonb
from splitrail_common.access import Scope
from splitrail_common.database import Connection, Pool, Queries
from splitrail_common.errors import not_found

from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Asset, Dataset, Version
from splitrail_split.versions.classes import stable_ids

Row = dict[str, Any]
Parameters = dict[str, Any]

_ASSET_TYPES = ("uuid", "int4", "bytea", "text", "int4", "int4", "int8", "text", "int2", "bytea", "text", "jsonb")


class Tables:
    """Named queries over a pool: what the stores are built on."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.sql = Queries("splitrail_split")

    async def rows(self, name: str, parameters: Parameters) -> list[Row]:
        """All rows of a query, in a connection of its own."""
        async with self.pool.connection() as connection:
            return await self.rows_in(connection, name, parameters)

    async def one(self, name: str, parameters: Parameters) -> Row | None:
        """The first row of a query, or None, in a connection of its own."""
        rows = await self.rows(name, parameters)
        return rows[0] if rows else None

    async def rows_in(self, connection: Connection, name: str, parameters: Parameters) -> list[Row]:
        """All rows of a query within a transaction."""
        # Binary: hashes and vectors would double as hexadecimal text.
        cursor = await connection.execute(self.sql[name], parameters, binary=True)
        return await cursor.fetchall() if cursor.description else []

    async def one_in(self, connection: Connection, name: str, parameters: Parameters) -> Row | None:
        """The first row of a query within a transaction, or None."""
        rows = await self.rows_in(connection, name, parameters)
        return rows[0] if rows else None

    async def run_in(self, connection: Connection, name: str, parameters: Parameters) -> int:
        """Runs a statement within a transaction; the number of rows it touched."""
        return (await connection.execute(self.sql[name], parameters)).rowcount


class DatasetStore:
    """What is stored of datasets and versions."""

    def __init__(self, tables: Tables, cache_bytes: int) -> None:
        self.tables = tables
        self._cache = arrays.ArrayCache(cache_bytes)

    async def project_exists(self, project_id: str) -> bool:
        """True for a project that was made."""
        return await self.tables.one("project_exists", {"project_id": project_id}) is not None

    async def get_dataset(self, scope: Scope, dataset_id: str) -> Dataset | None:
        """By id."""
        row = await self.tables.one("get_dataset", {"dataset_id": dataset_id, "scope": scope.sql()})
        return Dataset(**row) if row else None

    async def find_dataset(self, scope: Scope, project_id: str, name: str) -> Dataset | None:
        """By name."""
        row = await self.tables.one("find_dataset", {"project_id": project_id, "name": name, "scope": scope.sql()})
        return Dataset(**row) if row else None

    async def list_datasets(self, scope: Scope, *, project_id: str, name: str, external_id: str, before: str | None, limit: int) -> list[Dataset]:
        """Newest first, those made before the dataset `before`; empty strings do not filter."""
        parameters = {
            "scope": scope.sql(),
            "project_id": project_id,
            "name": name,
            "external_id": external_id,
            "before": before,
            "limit": limit,
        }
        return [Dataset(**row) for row in await self.tables.rows("list_datasets", parameters)]

    async def get_version(self, scope: Scope, version_id: str) -> Version | None:
        """By id."""
        row = await self.tables.one("get_version", {"version_id": version_id, "scope": scope.sql()})
        return Version(**row) if row else None

    async def find_version(self, dataset_id: str, number: int) -> Version | None:
        """By number; 0: the newest committed one."""
        row = await self.tables.one("find_version", {"dataset_id": dataset_id, "number": number})
        return Version(**row) if row else None

    async def list_versions(self, dataset_id: str, *, before: int | None, limit: int) -> list[Version]:
        """Newest first, those with a number below `before`."""
        parameters = {"dataset_id": dataset_id, "before": before, "limit": limit}
        return [Version(**row) for row in await self.tables.rows("list_versions", parameters)]

    async def page_assets(self, version_id: str, *, after: int, limit: int, annotations: bool) -> list[Asset]:
        """Images with ordinals above `after`."""
        parameters = {"version_id": version_id, "after": after, "limit": limit, "annotations": annotations}
        return [Asset(**row) for row in await self.tables.rows("page_assets", parameters)]

    async def get_assets(self, version_id: str, ordinals: npt.NDArray[np.integer], *, annotations: bool) -> list[Asset]:
        """The images with these ordinals."""
        parameters = {"version_id": version_id, "ordinals": ordinals.tolist(), "annotations": annotations}
        return [Asset(**row) for row in await self.tables.rows("get_assets", parameters)]

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
        return [Asset(**row) for row in await self.tables.rows("search_assets", parameters)]

    async def dataset_holds(self, dataset_id: str, sha256: bytes) -> bool:
        """True when a version of the dataset has an image with this content."""
        return await self.tables.one("dataset_holds", {"dataset_id": dataset_id, "sha256": sha256}) is not None

    async def array(self, version_id: str, name: str) -> arrays.Array:
        """A column of a committed version; read-only.

        Raises LookupError when the version has none of that name, NOT_FOUND when it was deleted meanwhile.
        """

        async def load() -> arrays.Array:
            row = await self.tables.one("get_array", {"version_id": version_id, "name": name})
            if row is None and await self.get_version(Scope(None), version_id) is None:
                raise not_found("version", version_id)
            if row is None:
                raise LookupError(f"version {version_id} has no array {name!r}")
            return arrays.decode(name, row["data"])

        return await self._cache.get(version_id, name, load)

    async def labels(self, version_id: str) -> arrays.Labels:
        """The classes of a version's objects."""
        return arrays.labels(await self.array(version_id, arrays.OBJECTS), await self.array(version_id, arrays.CLASS_IDS))

    async def paths(self, version_id: str) -> list[str]:
        """The path of every image, by ordinal."""
        return [row["path"] for row in await self.tables.rows("list_paths", {"version_id": version_id})]

    async def metadata(self, version_id: str, key: str) -> list[str]:
        """Every image's metadata under a key, by ordinal; empty where it has none."""
        return [row["value"] for row in await self.tables.rows("list_metadata", {"version_id": version_id, "key": key})]

    async def find_ordinals(self, version_id: str, by: str, values: Sequence[str]) -> list[tuple[str, int]]:
        """(value, ordinal) of the images with one of these values of sha256 (hex), external_id or path."""
        wanted = [bytes.fromhex(value) for value in values] if by == "sha256" else list(values)
        rows = await self.tables.rows(f"find_by_{by}", {"version_id": version_id, "values": wanted})
        return [(row["value"].hex() if by == "sha256" else row["value"], row["ordinal"]) for row in rows]

    async def vector(self, split_id: str) -> npt.NDArray[np.uint8]:
        """The split vector of a revision; read-only. Raises NOT_FOUND when it was deleted meanwhile."""

        async def load() -> arrays.Array:
            row = await self.tables.one("get_vector", {"split_id": split_id})
            if row is None:
                raise not_found("split", split_id)
            return arrays.decode_vector(row["vector"])

        return (await self._cache.get(split_id, "vector", load)).astype(np.uint8, copy=False)

    async def stable_class_ids(self, connection: Connection, dataset_id: str, names: Sequence[str], next_id: int) -> tuple[list[int], int]:
        """The stable ids of classes by their names, and the next free one; the caller holds the dataset's row."""
        rows = await self.tables.rows_in(connection, "class_ids_by_name", {"dataset_id": dataset_id, "names": list(names)})
        return stable_ids(names, {row["name"]: row["class_id"] for row in rows}, next_id)

    async def insert_version(self, connection: Connection, version: Row, columns: dict[str, bytes], rows: Sequence[tuple[Any, ...]]) -> None:
        """Stores a committed version: its row, its columns, and one row an image in the order of `version_asset`'s columns after version_id."""
        version_id = version["version_id"]
        await self.tables.run_in(connection, "insert_version", version)
        await self.insert_columns(connection, version_id, columns)
        async with connection.cursor() as cursor, cursor.copy(self.tables.sql["copy_version_assets"]) as copy:
            copy.set_types(_ASSET_TYPES)
            version_uuid = UUID(version_id)
            for row in rows:
                await copy.write_row((version_uuid, *row))

    async def insert_columns(self, connection: Connection, version_id: str, columns: dict[str, bytes]) -> None:
        """Stores the columns of a version."""
        for name, data in columns.items():
            await self.tables.run_in(connection, "insert_array", {"version_id": version_id, "name": name, "data": data})
