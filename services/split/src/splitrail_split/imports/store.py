"""Imports in Postgres: announced files, the queue with its leases, and the one transaction that commits a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from splitrail_common import ids
from splitrail_common.access import Scope
from splitrail_common.background import LeaseLostError
from splitrail_common.database import Connection, Pool, Row, Tables
from splitrail_common.repeats import RequestKey
from splitrail_common.text import counted

from splitrail_split.contents.store import ContentStore, KnownAsset
from splitrail_split.datasets.store import DatasetStore, LockedDataset
from splitrail_split.domain.datasets import Version
from splitrail_split.formats import Format
from splitrail_split.imports.domain import (
    Claim,
    Finding,
    Import,
    ImportState,
    NewImport,
    Report,
    SourceFile,
    StartOptions,
)
from splitrail_split.projects.store import ProjectStore
from splitrail_split.splits.domain import MadeRevision
from splitrail_split.splits.store import SplitStore

_COMPARED = 10_000  # rows at once: the event loop waits while they are packed
_PROBLEM_TYPES = ("uuid", "int4", "text", "int4", "int4", "text", "text", "bool", "bool")


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
    imported_split: MadeRevision | None = None
    """The parts that the source had."""


@dataclass(frozen=True, slots=True)
class EndedImport:
    """An import that has ended."""

    import_id: str
    project_id: str


class TaskMismatchError(Exception):
    """The dataset exists and describes something else."""


class ImportStore:
    """What is stored of imports."""

    def __init__(
        self, pool: Pool, projects: ProjectStore, contents: ContentStore, datasets: DatasetStore, splits: SplitStore
    ) -> None:
        self._tables = Tables(pool, "splitrail_split.imports")
        self._projects = projects
        self._contents = contents
        self._datasets = datasets
        self._splits = splits

    async def create(self, new: NewImport) -> str | None:
        """The id of a new import; None when its request_id is that of another one. Raises FAILED_PRECONDITION
        (PROJECT_ARCHIVED).
        """
        values = {
            "import_id": ids.new_id(),
            "project_id": new.project_id,
            "request_id": new.key.request_id,
            "request_digest": new.key.digest,
            "dataset_name": new.dataset_name,
            "task": new.task,
        }
        async with self._projects.writing(new.project_id) as connection:
            row = await self._tables.one_in(connection, "insert_import", values)
            return str(row["import_id"]) if row else None

    async def made_by(self, project_id: str, key: RequestKey) -> str | None:
        """The id of the import that an earlier call with this key has opened and that has neither failed nor been
        cancelled. Raises INVALID_ARGUMENT when that was another request.
        """
        if not key.request_id:
            return None
        row = await self._tables.one("find_import_by_request", {"project_id": project_id, "request_id": key.request_id})
        if row is None:
            return None
        key.require_same(row["request_digest"])
        return str(row["import_id"])

    async def get(self, scope: Scope, import_id: str) -> Import | None:
        """By id."""
        row = await self._tables.one("get_import", {"import_id": import_id, "scope": scope.sql()})
        return _import(row) if row else None

    async def list_imports(
        self,
        scope: Scope,
        *,
        project_id: str,
        dataset_name: str,
        state: ImportState | None,
        before: str | None,
        limit: int,
    ) -> list[Import]:
        """Newest first, those opened before the import `before`; empty texts and None do not filter."""
        values = {
            "scope": scope.sql(),
            "project_id": project_id,
            "dataset_name": dataset_name,
            "state": state or "",
            "before": before,
            "limit": limit,
        }
        return [_import(row) for row in await self._tables.rows("list_imports", values)]

    async def cancel(self, import_id: str) -> bool:
        """Ends an import without a version, also while a worker is busy with it; False when it has ended already."""
        return await self._tables.run("cancel_import", {"import_id": import_id}) == 1

    async def put_files(self, opened: Import, files: Sequence[SourceFile], contents: Mapping[bytes, bytes]) -> bool:
        """Announces files, later ones of the same path replace earlier ones, and keeps what came along; False when the
        import is not open. Raises FAILED_PRECONDITION (PROJECT_ARCHIVED).
        """
        import_id = opened.import_id
        values = {
            "import_id": import_id,
            "paths": [file.path for file in files],
            "contents": [file.sha256 for file in files],
            "sizes": [file.size_bytes for file in files],
            "images": [file.is_image for file in files],
        }
        async with self._projects.writing(opened.project_id) as connection:
            if await self._tables.one_in(connection, "lock_open_import", {"import_id": import_id}) is None:
                return False
            await self._tables.run_in(connection, "put_files", values)
            if contents:
                came = {"import_id": import_id, "hashes": list(contents), "contents": list(contents.values())}
                await self._tables.run_in(connection, "put_inline_contents", came)
            return True

    async def files(self, import_id: str) -> list[SourceFile]:
        """All announced files by path."""
        return [SourceFile(**row) for row in await self._tables.rows("list_files", {"import_id": import_id})]

    async def have_inline(self, import_id: str, contents: Sequence[bytes]) -> set[bytes]:
        """Which of these contents came with their announcement."""
        return {
            row["sha256"]
            for row in await self._tables.rows(
                "find_inline_contents", {"import_id": import_id, "contents": list(contents)}
            )
        }

    async def inline_contents(self, import_id: str, contents: Sequence[bytes]) -> dict[bytes, bytes]:
        """The bytes of those of these contents that came with their announcement, by hash."""
        rows = await self._tables.rows("read_inline_contents", {"import_id": import_id, "contents": list(contents)})
        return {row["sha256"]: row["content"] for row in rows}

    async def queue(self, opened: Import, format_: Format | None, options: StartOptions) -> bool:
        """Puts an open import into the queue, to be read as `format_`; False when it is no longer open. Raises
        FAILED_PRECONDITION (PROJECT_ARCHIVED).
        """
        values = {
            "import_id": opened.import_id,
            "format": format_ or "",
            "requested_format": options.format or "",
            "strict": options.strict,
            "dry_run": options.dry_run,
        }
        async with self._projects.writing(opened.project_id) as connection:
            return await self._tables.run_in(connection, "queue_import", values) == 1

    async def findings(self, import_id: str, *, after: int, limit: int) -> list[tuple[int, Finding]]:
        """Findings with their numbers, those after number `after`."""
        rows = await self._tables.rows("list_problems", {"import_id": import_id, "after": after, "limit": limit})
        return [(row.pop("number"), Finding(**row)) for row in rows]

    async def claim(self, owner: str, lease: timedelta) -> Claim | None:
        """Takes the longest-waiting import, or one whose holder has died."""
        row = await self._tables.one("claim_import", {"owner": owner, "lease": lease})
        return Claim(**{**row, "format": _format(row["format"])}, owner=owner) if row else None

    async def renew(self, claim: Claim, lease: timedelta) -> bool:
        """Extends the lease; False when it is lost."""
        return (
            await self._tables.one("renew_lease", {"import_id": claim.import_id, "owner": claim.owner, "lease": lease})
            is not None
        )

    async def release(self, claim: Claim, *, delay: timedelta, counted: bool) -> None:
        """Gives a claim back to the queue, not to be taken before `delay` has passed. What was lost already does not
        matter.
        """
        values = {"import_id": claim.import_id, "owner": claim.owner, "delay": delay, "uncounted": 0 if counted else 1}
        await self._tables.run("release_import", values)

    async def add_assets(self, claim: Claim, assets: Sequence[KnownAsset], processed: int) -> None:
        """Records contents that were verified and stored, and the progress. Raises LeaseLostError, FAILED_PRECONDITION
        (PROJECT_ARCHIVED).
        """
        async with self._projects.writing(claim.project_id) as connection:
            progress = {"import_id": claim.import_id, "owner": claim.owner, "processed": processed}
            if await self._tables.run_in(connection, "set_processed", progress) == 0:
                raise LeaseLostError(claim.import_id)
            if assets:
                await self._contents.record_in(connection, claim.project_id, assets)

    async def put_members(self, claim: Claim, contents: Sequence[bytes]) -> None:
        """Takes references to images that were not announced, before they are looked up and stored."""
        await self._tables.run("put_members", {"import_id": claim.import_id, "contents": list(contents)})
        await self._contents.settled(claim.project_id)

    async def set_source(self, claim: Claim, file_count: int) -> None:
        """Records what the source holds: the claim's format and number of images. Raises LeaseLostError."""
        values = {
            "import_id": claim.import_id,
            "owner": claim.owner,
            "format": claim.format or "",
            "file_count": file_count,
            "image_count": claim.image_count,
        }
        if await self._tables.run("set_source", values) == 0:
            raise LeaseLostError(claim.import_id)

    async def commit(
        self, claim: Claim, new: NewVersion, report: Report, *, unchanged: Finding, dropped: Finding
    ) -> str:
        """Ends the import with a version of its dataset, in one transaction; returns the version's id.

        When the newest version holds the same, that one is the result, and `unchanged` joins the findings with its
        reference in place of `{}`. When it has what callers said of images and no source can say, `dropped` does, with
        its reference and the number of these images. Raises LeaseLostError, FAILED_PRECONDITION (PROJECT_ARCHIVED), or
        TaskMismatchError when the dataset describes something else.
        """
        async with self._projects.writing(claim.project_id) as connection:
            await self._lock_own(connection, claim)
            dataset = await self._datasets.ensure_dataset(connection, claim.project_id, claim.dataset_name, claim.task)
            if dataset.task != claim.task:
                raise TaskMismatchError(claim.dataset_name)
            newest = await self._datasets.newest_version(connection, dataset.dataset_id)
            if newest is not None and await self._holds(connection, newest, new):
                version_id = newest.version_id
                report = _noted(report, unchanged, newest.reference)
            else:
                if newest is not None and (images := await self._given_by_callers(connection, newest.version_id, new)):
                    report = _noted(report, dropped, newest.reference, counted(images, "image"))
                version_id = await self._insert(connection, claim, dataset, new, report)
            await self._end(connection, claim, ImportState.SUCCEEDED, report, version_id=version_id)
            return version_id

    async def _insert(
        self, connection: Connection, claim: Claim, dataset: LockedDataset, new: NewVersion, report: Report
    ) -> str:
        """Stores a new version with the split that the source had; its id."""
        version_id = ids.new_id()
        class_ids, next_class_id = await self._datasets.stable_class_ids(connection, dataset, new.class_names)
        row = {
            "version_id": version_id,
            "dataset_id": dataset.dataset_id,
            "project_id": claim.project_id,
            "number": dataset.latest_version + 1,
            "class_names": new.class_names,
            "class_ids": class_ids,
            "base_version_id": None,
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
        await self._datasets.insert_version(connection, row, next_class_id=next_class_id)
        await self._datasets.insert_columns(connection, version_id, new.columns)
        await self._datasets.insert_assets(connection, version_id, new.rows)
        if new.imported_split is not None:
            await self._splits.add_in(connection, version_id, new.imported_split, keep_current=False)
        return version_id

    async def end(self, claim: Claim, state: ImportState, report: Report, failure: str = "") -> None:
        """Ends the import without a version. Raises LeaseLostError."""
        async with self._tables.pool.connection() as connection, connection.transaction():
            await self._lock_own(connection, claim)
            await self._end(connection, claim, state, report, failure=failure)

    async def next_to_unstage(self) -> EndedImport | None:
        """An ended import whose staged bytes are to be removed; not given to anybody else for a minute."""
        row = await self._tables.one("claim_unstaging", {})
        return EndedImport(**row) if row else None

    async def unstaged(self, ended: EndedImport) -> None:
        """The staged bytes of an ended import are gone."""
        await self._tables.run("end_unstaging", {"import_id": ended.import_id})

    async def abandon(self, age: timedelta, failure: str) -> int:
        """Ends imports that were opened and not started within `age`; returns how many."""
        return await self._tables.run("abandon_imports", {"age": age, "failure": failure})

    async def _holds(self, connection: Connection, version: Version, new: NewVersion) -> bool:
        """True when a version has all that the new one would, down to what the digest does not cover."""
        if version.digest != new.digest or version.flip_idx != new.report.get("flip_idx", []):
            return False
        for start in range(0, len(new.rows), _COMPARED):
            rows = new.rows[start : start + _COMPARED]
            values = {
                "version_id": version.version_id,
                "contents": [row[1] for row in rows],
                "paths": [row[2] for row in rows],
                "metadata": [row[-1] for row in rows],
                "split_digest": new.imported_split.digest if new.imported_split else None,
            }
            found = await self._tables.one_in(connection, "version_holds", values)
            if not (found and found["holds"]):
                return False
        return True

    async def _given_by_callers(self, connection: Connection, version_id: str, new: NewVersion) -> int:
        """Of how many images (by path) a version knows an external_id, or metadata of a key, that the new one would
        not.
        """
        named = {"version_id": version_id}
        if not await self._tables.rows_in(connection, "any_given_by_callers", named):
            return 0
        images = 0
        for start in range(0, len(new.rows), _COMPARED):
            rows = new.rows[start : start + _COMPARED]
            values = {**named, "paths": [row[2] for row in rows], "metadata": [row[-1] for row in rows]}
            images += (await self._tables.rows_in(connection, "given_by_callers", values))[0]["images"]
        return images

    async def _lock_own(self, connection: Connection, claim: Claim) -> None:
        if (
            await self._tables.one_in(
                connection, "lock_own_import", {"import_id": claim.import_id, "owner": claim.owner}
            )
            is None
        ):
            raise LeaseLostError(claim.import_id)

    async def _end(
        self,
        connection: Connection,
        claim: Claim,
        state: ImportState,
        report: Report,
        *,
        failure: str = "",
        version_id: str | None = None,
    ) -> None:
        async with connection.cursor() as cursor, cursor.copy(self._tables.sql["copy_problems"]) as copy:
            copy.set_types(_PROBLEM_TYPES)
            for number, found in enumerate(report.findings, start=1):
                fields = (
                    found.path,
                    found.line,
                    found.object,
                    found.code,
                    found.message,
                    found.image_excluded,
                    found.note,
                )
                await copy.write_row((UUID(claim.import_id), number, *fields))
        values = {
            "import_id": claim.import_id,
            "state": state,
            "failure": failure,
            "version_id": version_id,
            "problem_count": report.problem_count,
            "note_count": report.note_count,
            "excluded_count": report.excluded_count,
        }
        await self._tables.run_in(connection, "end_import", values)


def _noted(report: Report, note: Finding, *words: object) -> Report:
    """The report with a note whose message the words complete."""
    findings = (replace(note, message=note.message.format(*words)), *report.findings)
    return replace(report, findings=findings, note_count=report.note_count + 1)


def _import(row: Row) -> Import:
    named = {"format": _format(row["format"]), "requested_format": _format(row["requested_format"])}
    return Import(**{**row, **named, "state": ImportState(row["state"])})


def _format(stored: str) -> Format | None:
    return Format(stored) if stored else None
