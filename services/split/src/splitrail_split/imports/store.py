"""Imports in Postgres: announced files, the queue with its leases, and the one transaction that commits a version."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from splitrail_common import ids
from splitrail_common.access import Scope
from splitrail_common.database import Connection
from splitrail_common.text import counted

from splitrail_split.datasets.store import DatasetStore, Row, Tables
from splitrail_split.domain.datasets import Claim, Finding, Import, ImportState, Report, SourceFile
from splitrail_split.splits.store import NewRevision, SplitStore

_COMPARED = 10_000  # rows at once: the event loop waits while they are packed
_PROBLEM_TYPES = ("uuid", "int4", "text", "int4", "int4", "text", "text", "bool", "bool")


@dataclass(frozen=True, slots=True)
class KnownAsset:
    """Content that the project holds."""

    sha256: bytes
    width: int
    height: int
    size_bytes: int
    format: str
    perceptual_hash: int


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version as an import leaves it, before it has a number. `rows`: version_asset's columns from ordinal on."""

    class_names: list[str]
    image_count: int
    object_count: int
    empty_count: int
    unlabelled_count: int
    class_images: list[int]
    class_objects: list[int]
    digest: str
    columns: dict[str, bytes]
    rows: Sequence[tuple[Any, ...]]
    report: dict[str, Any]
    imported_split: NewRevision | None = None
    """The parts that the source had."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An import that has ended."""

    import_id: str
    project_id: str


class LeaseLostError(Exception):
    """Another process has taken the import over, or it has ended: what this one holds is void."""


class TaskMismatchError(Exception):
    """The dataset exists and describes something else."""


class ImportStore:
    """What is stored of imports."""

    def __init__(self, tables: Tables, datasets: DatasetStore, splits: SplitStore) -> None:
        self._tables = tables
        self._datasets = datasets
        self._splits = splits

    async def create(self, project_id: str, request_id: str, dataset_name: str, task: int) -> str:
        """The id of a new import, or of the one that the same request_id opened and that has not failed."""
        values = {"import_id": ids.new_id(), "project_id": project_id, "request_id": request_id, "dataset_name": dataset_name, "task": task}
        while True:
            row = await self._tables.one("insert_import", values)
            # The other import may fail between these two statements; then inserting succeeds.
            row = row or await self._tables.one("find_import_by_request", {"project_id": project_id, "request_id": request_id})
            if row:
                return str(row["import_id"])

    async def get(self, scope: Scope, import_id: str) -> Import | None:
        """By id."""
        row = await self._tables.one("get_import", {"import_id": import_id, "scope": scope.sql()})
        return Import(**row) if row else None

    async def put_files(self, import_id: str, files: Sequence[SourceFile], contents: Mapping[bytes, bytes]) -> bool:
        """Announces files, later ones of the same path replace earlier ones, and keeps what came along; False when the import is not open."""
        values = {
            "import_id": import_id,
            "paths": [file.path for file in files],
            "contents": [file.sha256 for file in files],
            "sizes": [file.size_bytes for file in files],
            "images": [file.is_image for file in files],
        }
        async with self._tables.pool.connection() as connection, connection.transaction():
            if await self._tables.one_in(connection, "lock_open_import", {"import_id": import_id}) is None:
                return False
            await self._tables.run_in(connection, "put_files", values)
            if contents:
                came = {"import_id": import_id, "hashes": list(contents), "contents": list(contents.values())}
                await self._tables.run_in(connection, "put_contents", came)
            return True

    async def files(self, import_id: str) -> list[SourceFile]:
        """All announced files by path."""
        return [SourceFile(**row) for row in await self._tables.rows("list_files", {"import_id": import_id})]

    async def came_along(self, import_id: str, contents: Sequence[bytes]) -> set[bytes]:
        """Which of these contents came with their announcement."""
        return {row["sha256"] for row in await self._tables.rows("came_along", {"import_id": import_id, "contents": list(contents)})}

    async def read_contents(self, import_id: str, contents: Sequence[bytes]) -> dict[bytes, bytes]:
        """The bytes of those of these contents that came with their announcement, by hash."""
        rows = await self._tables.rows("read_contents", {"import_id": import_id, "contents": list(contents)})
        return {row["sha256"]: row["content"] for row in rows}

    async def queue(self, import_id: str, format_number: int, *, strict: bool, dry_run: bool) -> bool:
        """Puts an open import into the queue; False when it is not open any more."""
        values = {"import_id": import_id, "format": format_number, "strict": strict, "dry_run": dry_run}
        async with self._tables.pool.connection() as connection:
            return await self._tables.run_in(connection, "queue_import", values) == 1

    async def findings(self, import_id: str, *, after: int, limit: int) -> list[tuple[int, Finding]]:
        """Findings with their numbers, those after number `after`."""
        rows = await self._tables.rows("list_problems", {"import_id": import_id, "after": after, "limit": limit})
        return [(row.pop("number"), Finding(**row)) for row in rows]

    async def known(self, project_id: str, contents: Sequence[bytes]) -> dict[bytes, KnownAsset]:
        """Which of these contents the project holds."""
        rows = await self._tables.rows("known_assets", {"project_id": project_id, "contents": list(contents)})
        return {row["sha256"]: KnownAsset(**row) for row in rows}

    async def claim(self, owner: str, lease: timedelta) -> Claim | None:
        """Takes the longest-waiting import, or one whose holder has died."""
        row = await self._tables.one("claim_import", {"owner": owner, "lease": lease})
        return Claim(**row, owner=owner) if row else None

    async def renew(self, claim: Claim, lease: timedelta) -> bool:
        """Extends the lease; False when it is lost."""
        return await self._tables.one("renew_lease", {"import_id": claim.import_id, "owner": claim.owner, "lease": lease}) is not None

    async def release(self, claim: Claim, *, delay: timedelta, counted: bool) -> None:
        """Gives a claim back to the queue, not to be taken before `delay` has passed. What was lost already does not matter."""
        values = {"import_id": claim.import_id, "owner": claim.owner, "delay": delay, "uncounted": 0 if counted else 1}
        async with self._tables.pool.connection() as connection:
            await self._tables.run_in(connection, "release_import", values)

    async def add_assets(self, claim: Claim, assets: Sequence[KnownAsset], processed: int) -> None:
        """Records contents that were verified and stored, and the progress. Raises LeaseLostError."""
        async with self._tables.pool.connection() as connection, connection.transaction():
            progress = {"import_id": claim.import_id, "owner": claim.owner, "processed": processed}
            if await self._tables.run_in(connection, "set_processed", progress) == 0:
                raise LeaseLostError(claim.import_id)
            if assets:
                await self._tables.run_in(connection, "insert_assets", {"project_id": claim.project_id, **asset_values(assets)})

    async def put_members(self, claim: Claim, contents: Sequence[bytes]) -> None:
        """Says, before they are looked up and stored, that the import counts on images which nobody announced."""
        async with self._tables.pool.connection() as connection:
            await self._tables.run_in(connection, "put_members", {"import_id": claim.import_id, "contents": list(contents)})
        await self.settled(claim.project_id)

    async def set_source(self, claim: Claim, file_count: int) -> None:
        """Records what the source has turned out to be: the claim's format and images. Raises LeaseLostError."""
        values = {
            "import_id": claim.import_id,
            "owner": claim.owner,
            "format": claim.format,
            "file_count": file_count,
            "image_count": claim.image_count,
        }
        async with self._tables.pool.connection() as connection:
            if await self._tables.run_in(connection, "set_source", values) == 0:
                raise LeaseLostError(claim.import_id)

    async def commit(self, claim: Claim, new: NewVersion, report: Report, *, unchanged: Finding, dropped: Finding) -> str:
        """Ends the import with a version of its dataset, in one transaction; returns the version's id.

        When the newest version holds the same, that one is the result, and `unchanged` joins the findings with its reference in place of `{}`.
        When it has what callers said of images and no source can say, `dropped` does, with its reference and the number of these images.
        Raises LeaseLostError, or TaskMismatchError when the dataset describes something else.
        """
        async with self._tables.pool.connection() as connection, connection.transaction():
            await self._lock_own(connection, claim)
            dataset = await self._lock_dataset(connection, claim)
            if dataset["task"] != claim.task:
                raise TaskMismatchError(claim.dataset_name)
            newest = await self._tables.one_in(connection, "find_version", {"dataset_id": dataset["dataset_id"], "number": 0})
            if newest is not None and await self._holds(connection, newest, new):
                version_id = str(newest["version_id"])
                report = _noted(report, unchanged, f"{claim.dataset_name}@v{newest['number']}")
            else:
                if newest is not None and (images := await self._given_by_callers(connection, newest, new)):
                    report = _noted(report, dropped, f"{claim.dataset_name}@v{newest['number']}", counted(images, "image"))
                version_id = ids.new_id()
                number = dataset["latest_version"] + 1
                dataset_id = dataset["dataset_id"]
                class_ids, next_id = await self._datasets.stable_class_ids(connection, dataset_id, new.class_names, dataset["next_class_id"])
                row = _version_row(claim, new, report, dataset_id=dataset_id, version_id=version_id, number=number)
                await self._datasets.insert_version(connection, {**row, "class_ids": class_ids, "base_version_id": None}, new.columns, new.rows)
                latest = {"dataset_id": dataset_id, "number": number, "next_class_id": next_id}
                await self._tables.run_in(connection, "set_latest_version", latest)
                if new.imported_split is not None:
                    await self._splits.add_in(connection, version_id, new.imported_split, keep_current=False)
            await self._end(connection, claim, ImportState.SUCCEEDED, report, version_id=version_id)
            return version_id

    async def end(self, claim: Claim, state: ImportState, report: Report, failure: str = "") -> None:
        """Ends the import without a version. Raises LeaseLostError."""
        async with self._tables.pool.connection() as connection, connection.transaction():
            await self._lock_own(connection, claim)
            await self._end(connection, claim, state, report, failure=failure)

    async def settled(self, project_id: str) -> None:
        """After announcing: returns once every removal of staged bytes that did not see the announcement is over, and what is staged now stays."""
        await self._tables.one("pass_staging", {"project_id": project_id})

    @asynccontextmanager
    async def unneeded(self, ended: Ended, contents: Sequence[bytes]) -> AsyncIterator[list[bytes]]:
        """Which of these staged contents of an ended import nobody else of the project counts on; that stays true until the block ends."""
        values = {"project_id": ended.project_id, "contents": list(contents)}
        async with self._tables.pool.connection() as connection, connection.transaction():
            await self._tables.one_in(connection, "lock_staging", {"project_id": ended.project_id})
            needed = {row["sha256"] for row in await self._tables.rows_in(connection, "still_announced", values)}
            needed |= {row["sha256"] for row in await self._tables.rows_in(connection, "still_held", values)}
            yield [sha256 for sha256 in contents if sha256 not in needed]

    async def next_to_unstage(self) -> Ended | None:
        """An ended import whose staged bytes are to be removed; not given to anybody else for a minute."""
        row = await self._tables.one("claim_unstaging", {})
        return Ended(**row) if row else None

    async def unstaged(self, ended: Ended) -> None:
        """The staged bytes of an ended import are gone."""
        async with self._tables.pool.connection() as connection:
            await self._tables.run_in(connection, "end_unstaging", {"import_id": ended.import_id})

    async def abandon(self, age: timedelta, failure: str) -> int:
        """Ends imports that were opened and not started within `age`; returns how many."""
        async with self._tables.pool.connection() as connection:
            return await self._tables.run_in(connection, "abandon_imports", {"age": age, "failure": failure})

    async def _lock_dataset(self, connection: Connection, claim: Claim) -> Row:
        """The dataset of the import, made if need be, and made again if it is deleted in between."""
        name = {"project_id": claim.project_id, "name": claim.dataset_name}
        while True:
            await self._tables.run_in(connection, "insert_dataset", {**name, "dataset_id": ids.new_id(), "task": claim.task})
            if dataset := await self._tables.one_in(connection, "lock_dataset", name):
                return dataset

    async def _holds(self, connection: Connection, version: Row, new: NewVersion) -> bool:
        """True when a version has all that the new one would, down to what the digest does not cover."""
        if version["digest"] != new.digest or version["flip_idx"] != new.report.get("flip_idx", []):
            return False
        for start in range(0, len(new.rows), _COMPARED):
            rows = new.rows[start : start + _COMPARED]
            values = {
                "version_id": version["version_id"],
                "contents": [row[1] for row in rows],
                "paths": [row[2] for row in rows],
                "metadata": [row[-1] for row in rows],
                "split_digest": new.imported_split.digest if new.imported_split else None,
            }
            found = await self._tables.one_in(connection, "version_holds", values)
            if not (found and found["holds"]):
                return False
        return True

    async def _given_by_callers(self, connection: Connection, version: Row, new: NewVersion) -> int:
        """Of how many images (by path) a version knows an external_id, or metadata of a key, that the new one would not."""
        named = {"version_id": version["version_id"]}
        if not await self._tables.rows_in(connection, "any_given_by_callers", named):
            return 0
        images = 0
        for start in range(0, len(new.rows), _COMPARED):
            rows = new.rows[start : start + _COMPARED]
            values = {**named, "paths": [row[2] for row in rows], "metadata": [row[-1] for row in rows]}
            images += (await self._tables.rows_in(connection, "given_by_callers", values))[0]["images"]
        return images

    async def _lock_own(self, connection: Connection, claim: Claim) -> None:
        if await self._tables.one_in(connection, "lock_own_import", {"import_id": claim.import_id, "owner": claim.owner}) is None:
            raise LeaseLostError(claim.import_id)

    async def _end(
        self, connection: Connection, claim: Claim, state: ImportState, report: Report, *, failure: str = "", version_id: str | None = None
    ) -> None:
        async with connection.cursor() as cursor, cursor.copy(self._tables.sql["copy_problems"]) as copy:
            copy.set_types(_PROBLEM_TYPES)
            for number, found in enumerate(report.findings, start=1):
                fields = (found.path, found.line, found.object, found.code, found.message, found.image_excluded, found.note)
                await copy.write_row((UUID(claim.import_id), number, *fields))
        values = {
            "import_id": claim.import_id,
            "state": int(state),
            "failure": failure,
            "version_id": version_id,
            "problem_count": report.problem_count,
            "note_count": report.note_count,
            "excluded_count": report.excluded_count,
        }
        await self._tables.run_in(connection, "end_import", values)


def asset_values(assets: Sequence[KnownAsset]) -> dict[str, Any]:
    """Verified contents as `insert_assets` takes them."""
    return {
        "contents": [asset.sha256 for asset in assets],
        "sizes": [asset.size_bytes for asset in assets],
        "widths": [asset.width for asset in assets],
        "heights": [asset.height for asset in assets],
        "formats": [asset.format for asset in assets],
        "perceptual_hashes": [asset.perceptual_hash for asset in assets],
    }


def _noted(report: Report, note: Finding, *words: object) -> Report:
    """The report with a note whose message the words complete."""
    findings = (replace(note, message=note.message.format(*words)), *report.findings)
    return replace(report, findings=findings, note_count=report.note_count + 1)


def _version_row(claim: Claim, new: NewVersion, report: Report, *, dataset_id: str, version_id: str, number: int) -> dict[str, Any]:
    return {
        "version_id": version_id,
        "dataset_id": dataset_id,
        "project_id": claim.project_id,
        "number": number,
        "class_names": new.class_names,
        "image_count": new.image_count,
        "object_count": new.object_count,
        "empty_count": new.empty_count,
        "unlabelled_count": new.unlabelled_count,
        "problem_count": report.problem_count,
        "class_images": new.class_images,
        "class_objects": new.class_objects,
        "digest": new.digest,
        "report": Jsonb(new.report),
    }
