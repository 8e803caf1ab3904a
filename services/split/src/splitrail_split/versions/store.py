"""Drafts in Postgres, and the transactions that change them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from uuid import UUID

import numpy as np
import numpy.typing as npt
from psycopg.types.json import Jsonb
from splitrail_common import ids
from splitrail_common.access import Scope
from splitrail_common.annotations import LabelState
from splitrail_common.database import Connection, Pool, Tables
from splitrail_common.errors import not_found
from splitrail_common.repeats import RequestKey

from splitrail_split.contents.store import ContentStore
from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain.datasets import Asset, Dataset, Version
from splitrail_split.projects.store import ProjectStore
from splitrail_split.versions.classes import DraftClasses
from splitrail_split.versions.differences import Differences
from splitrail_split.versions.drafts import Draft, DraftAsset, Tally

_ROW_TYPES = ("uuid", "int4", "int4", "bool", "bytea", "text", "text", "int2", "bytea", "jsonb")


@dataclass(frozen=True, slots=True)
class NewDraft:
    """A draft as it begins; its counts are those of `base`, if there is one."""

    dataset: Dataset
    base: Version | None
    class_names: list[str]
    key: RequestKey


class DraftStore:
    """What is stored of drafts."""

    def __init__(self, pool: Pool, projects: ProjectStore, datasets: DatasetStore, contents: ContentStore) -> None:
        self._tables = Tables(pool, "splitrail_split.versions")
        self._projects = projects
        self._datasets = datasets
        self._contents = contents

    async def begin(self, scope: Scope, new: NewDraft) -> str | None:
        """The id of a new draft; None when its request_id is used. Raises NOT_FOUND for dataset and base,
        FAILED_PRECONDITION (PROJECT_ARCHIVED).
        """
        dataset_id = new.dataset.dataset_id
        async with self._projects.writing(new.dataset.project_id) as connection:
            dataset = await self._datasets.lock_dataset(connection, scope, dataset_id)
            if new.base is None:
                class_ids, next_class_id = await self._datasets.stable_class_ids(connection, dataset, new.class_names)
                await self._datasets.set_next_class_id(connection, dataset_id, next_class_id)
            else:
                await self._datasets.keep_version(connection, dataset_id, new.base.version_id)
                class_ids = new.base.class_ids
            zeros = [0] * len(new.class_names)
            values = {
                "version_id": ids.new_id(),
                "dataset_id": dataset_id,
                "project_id": dataset.project_id,
                "base_version_id": new.base.version_id if new.base else None,
                "request_id": new.key.request_id,
                "request_digest": new.key.digest,
                "class_names": new.class_names,
                "class_ids": class_ids,
                "class_targets": list(range(len(class_ids))),
                "image_count": new.base.image_count if new.base else 0,
                "object_count": new.base.object_count if new.base else 0,
                "empty_count": new.base.empty_count if new.base else 0,
                "unlabelled_count": new.base.unlabelled_count if new.base else 0,
                "class_images": new.base.class_images if new.base else zeros,
                "class_objects": new.base.class_objects if new.base else zeros,
            }
            row = await self._tables.one_in(connection, "insert_draft", values)
            return str(row["version_id"]) if row else None

    async def made_by(self, project_id: str, key: RequestKey) -> str | None:
        """The id of the draft that an earlier call with this key has begun, or of the version that it has become.
        Raises INVALID_ARGUMENT when that was another request.
        """
        if not key.request_id:
            return None
        row = await self._tables.one("find_draft_by_request", {"project_id": project_id, "request_id": key.request_id})
        if row is None:
            return None
        key.require_same(row["request_digest"])
        return str(row["version_id"])

    async def get(self, scope: Scope, version_id: str) -> Draft | None:
        """A draft by id, committed or not."""
        row = await self._tables.one("get_draft", {"version_id": version_id, "scope": scope.sql()})
        return Draft(**row) if row else None

    async def of_dataset(self, dataset_id: str, *, before: str | None, limit: int) -> list[Draft]:
        """Drafts that are not committed, newest first, those begun before the draft `before`."""
        rows = await self._tables.rows("list_drafts", {"dataset_id": dataset_id, "before": before, "limit": limit})
        return [Draft(**row) for row in rows]

    @asynccontextmanager
    async def changing(self, scope: Scope, draft: Draft) -> AsyncIterator["DraftChange"]:
        """Locks the draft until the block ends. All changes are kept, or none when the block raises. Raises NOT_FOUND,
        FAILED_PRECONDITION (PROJECT_ARCHIVED).
        """
        async with self._projects.writing(draft.project_id) as connection:
            yield DraftChange(
                self._tables, self._contents, connection, await self.lock(connection, scope, draft.version_id)
            )

    @asynccontextmanager
    async def changing_classes(self, scope: Scope, draft: Draft) -> AsyncIterator["ClassesChange"]:
        """As `changing`, with the dataset's row, which numbers classes."""
        async with self._projects.writing(draft.project_id) as connection:
            dataset = await self._datasets.lock_dataset(connection, scope, draft.dataset_id)
            locked = await self.lock(connection, scope, draft.version_id)
            yield ClassesChange(self._tables, self._datasets, connection, locked, next_class_id=dataset.next_class_id)

    async def lock(self, connection: Connection, scope: Scope, version_id: str) -> Draft:
        """A draft, committed or not, until the transaction ends. Raises NOT_FOUND."""
        named = {"version_id": version_id, "scope": scope.sql()}
        await self._tables.one_in(connection, "lock_draft", named)
        # In a statement of its own, which sees what the one that held the lock before has written.
        row = await self._tables.one_in(connection, "get_draft", named)
        if row is None:
            raise not_found("version", version_id)
        return Draft(**row)

    async def draft_assets(self, draft: Draft, positions: Sequence[int], *, annotations: bool) -> list[Asset]:
        """What a draft has itself, with positions in place of ordinals."""
        values = {
            "version_id": draft.version_id,
            "project_id": draft.project_id,
            "positions": list(positions),
            "annotations": annotations,
        }
        return [Asset(**row) for row in await self._tables.rows("get_draft_assets", values)]

    def snapshot(self) -> AbstractAsyncContextManager[Connection]:
        """A connection that reads what was there when it read first."""
        return self._tables.snapshot()

    async def differences(
        self,
        connection: Connection,
        version_id: str,
        images_of: str | None,
        other_version_id: str | None,
        *,
        within_base: bool,
        every: bool = False,
    ) -> Differences:
        """See the query `diff_images`; in no order."""
        values = {
            "version_id": version_id,
            "images_of": images_of,
            "other_version_id": other_version_id,
            "within_base": within_base,
            "every": every,
        }
        if not within_base:
            await self._tables.run_in(connection, "expect_many", {})
        rows = await self._tables.rows_in(connection, "diff_images", values)
        return Differences(np.frombuffer(rows[0]["packed"], dtype=">i4").reshape(-1, 3).astype(np.int32))

    async def annotations(
        self,
        connection: Connection,
        places: npt.NDArray[np.integer],
        *,
        images_of: str | None,
        draft_id: str | None = None,
    ) -> list[bytes]:
        """Of images that are there: see the query `get_annotations`."""
        values = {"places": places.tolist(), "images_of": images_of, "draft_id": draft_id}
        row = (await self._tables.rows_in(connection, "get_annotations", values))[0]
        ends = list(accumulate(row["lengths"], initial=0))
        return [row["data"][start:end] for start, end in pairwise(ends)]

    async def put_recoded(self, connection: Connection, places: Sequence[int], annotations: Sequence[bytes]) -> None:
        """Keeps, for the rest of a commit, other annotations of these images: see the query `create_recoded`."""
        sizes = [len(one) for one in annotations]
        firsts = list(accumulate(sizes[:-1], initial=0))
        values = {"places": list(places), "data": b"".join(annotations), "firsts": firsts, "sizes": sizes}
        await self._tables.run_in(connection, "insert_recoded", values)

    async def delete_draft(self, scope: Scope, project_id: str, version_id: str) -> bool:
        """False when it is committed. Raises NOT_FOUND, FAILED_PRECONDITION (PROJECT_ARCHIVED)."""
        async with self._projects.writing(project_id) as connection:
            draft = await self.lock(connection, scope, version_id)
            if draft.committed_version_id is not None:
                return False
            await self._tables.run_in(connection, "delete_draft", {"version_id": version_id})
            await self._contents.request_sweep_in(connection, project_id)
            return True


class DraftChange:
    """A draft within the transaction that changes its images."""

    def __init__(self, tables: Tables, contents: ContentStore, connection: Connection, draft: Draft) -> None:
        self.draft = draft
        self._tables = tables
        self._contents = contents
        self._connection = connection

    async def known(self, contents: Sequence[bytes]) -> set[bytes]:
        """Which of these contents are assets, and stay until the change is kept."""
        return await self._contents.known_in(self._connection, self.draft.project_id, contents)

    async def find(
        self, *, external_ids: Sequence[str], paths: Sequence[str], contents: Sequence[bytes]
    ) -> list[DraftAsset]:
        """The images that have one of these, as they stand."""
        values = {
            "version_id": self.draft.version_id,
            "base_version_id": self.draft.base_version_id,
            "external_ids": list(external_ids),
            "paths": list(paths),
            "contents": list(contents),
        }
        return [DraftAsset(**row) for row in await self._tables.rows_in(self._connection, "find_in_draft", values)]

    async def sample(self) -> bytes | None:
        """The annotations of some image that has objects; None when there is none."""
        named = {"version_id": self.draft.version_id, "base_version_id": self.draft.base_version_id}
        row = await self._tables.one_in(self._connection, "sample_of_draft", {**named, "labelled": LabelState.LABELLED})
        return row["annotations"] if row else None

    async def put(self, changes: Sequence[tuple[DraftAsset | None, DraftAsset]], difference: Tally) -> None:
        """Keeps images as they are after the change. What was the draft's own row keeps its position."""
        await self._replace([before for before, _ in changes], [(after, False) for _, after in changes], difference)

    async def remove(self, assets: Sequence[DraftAsset], difference: Tally) -> None:
        """Keeps that images are gone: a row says so of those of the base."""
        await self._replace(assets, [(one, True) for one in assets if one.base_ordinal is not None], difference)

    async def _replace(
        self, before: Sequence[DraftAsset | None], after: Sequence[tuple[DraftAsset, bool]], difference: Tally
    ) -> None:
        draft = self.draft
        # First all old rows go: two images may exchange their paths.
        positions = [one.position for one in before if one is not None and one.position is not None]
        await self._tables.run_in(
            self._connection, "delete_draft_assets", {"version_id": draft.version_id, "positions": positions}
        )
        next_position = draft.next_position
        async with self._connection.cursor() as cursor, cursor.copy(self._tables.sql["copy_draft_assets"]) as copy:
            copy.set_types(_ROW_TYPES)
            version_id = UUID(draft.version_id)
            for one, removed in after:
                position = one.position
                if position is None:
                    position, next_position = next_position, next_position + 1
                content = (one.sha256, one.path, one.external_id, one.label_state, one.annotations, Jsonb(one.metadata))
                await copy.write_row((version_id, position, one.base_ordinal, removed, *content))
        counts = {
            "image_count": draft.image_count + difference.images,
            "object_count": draft.object_count + difference.objects,
            "empty_count": draft.empty_count + difference.empty,
            "unlabelled_count": draft.unlabelled_count + difference.unlabelled,
            "class_images": (np.array(draft.class_images, dtype=np.int64) + difference.class_images).tolist(),
            "class_objects": (np.array(draft.class_objects, dtype=np.int64) + difference.class_objects).tolist(),
        }
        values = {"version_id": draft.version_id, "next_position": next_position, **counts}
        await self._tables.run_in(self._connection, "set_draft_counts", values)
        self.draft = replace(draft, next_position=next_position, change_count=draft.change_count + 1, **counts)


class ClassesChange:
    """A draft within the transaction that changes its classes."""

    def __init__(
        self, tables: Tables, datasets: DatasetStore, connection: Connection, draft: Draft, *, next_class_id: int
    ) -> None:
        self.draft = draft
        self.next_class_id = next_class_id
        self._tables = tables
        self._datasets = datasets
        self._connection = connection

    async def earlier_ids(self, names: Sequence[str]) -> dict[str, int]:
        """The stable id that each of these names last had in the dataset."""
        return await self._datasets.earlier_class_ids(self._connection, self.draft.dataset_id, names)

    async def put(self, classes: DraftClasses, next_class_id: int) -> None:
        """Keeps the classes; those added have no images yet."""
        more = [0] * (len(classes.names) - len(self.draft.class_names))
        values = {
            "version_id": self.draft.version_id,
            "class_names": classes.names,
            "class_ids": classes.ids,
            "class_targets": classes.targets,
            "class_images": self.draft.class_images + more,
            "class_objects": self.draft.class_objects + more,
        }
        await self._tables.run_in(self._connection, "set_draft_classes", values)
        self.draft = replace(
            self.draft,
            class_names=classes.names,
            class_ids=classes.ids,
            class_targets=classes.targets,
            class_images=self.draft.class_images + more,
            class_objects=self.draft.class_objects + more,
            change_count=self.draft.change_count + 1,
        )
        if next_class_id != self.next_class_id:
            await self._datasets.set_next_class_id(self._connection, self.draft.dataset_id, next_class_id)
