"""The staging area: what clients have uploaded so far, and where to put what is missing."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from splitrail_common.objects import ObjectStore

from splitrail_split.contents.keys import staging_folder, staging_key
from splitrail_split.contents.store import ContentStore

UPLOAD_LIFETIME = timedelta(hours=1)
_LISTED_FROM = 2000
"""So many contents, more than a request announces, are looked up by listing what is staged, fewer one by one: listing
for each request would take time in the square of what is staged.
"""


@dataclass(frozen=True, slots=True)
class PresignedUpload:
    """Where a client puts one content."""

    sha256: bytes
    url: str
    expire_time: datetime


class Staging:
    """Uploads that have not been verified yet."""

    def __init__(self, objects: ObjectStore, store: ContentStore) -> None:
        self._objects = objects
        self._store = store

    async def possible(self, project_id: str, contents: Sequence[bytes]) -> set[bytes]:
        """Which of these contents may be staged. Ask before they are announced: only contents that were announced
        before can be staged.
        """
        return await self._store.announced(project_id, contents)

    async def missing(self, project_id: str, sizes: Mapping[bytes, int], possible: Collection[bytes]) -> list[bytes]:
        """Which of these contents are not staged with their size; only those of `possible` may be."""
        wanted = [sha256 for sha256 in sizes if sha256 in possible]
        if len(wanted) < _LISTED_FROM:
            stored = await asyncio.gather(
                *(asyncio.to_thread(self._objects.stat, staging_key(project_id, sha256)) for sha256 in wanted)
            )
            staged = {one.key: one.size_bytes for one in stored if one}
        else:
            staged = await asyncio.to_thread(self._staged, project_id)
        return [sha256 for sha256, size in sizes.items() if staged.get(staging_key(project_id, sha256)) != size]

    async def uploads(self, project_id: str, contents: Sequence[bytes]) -> list[PresignedUpload]:
        """Where to put these contents."""
        expires = datetime.now(UTC) + UPLOAD_LIFETIME

        def signed() -> list[PresignedUpload]:
            return [
                PresignedUpload(
                    sha256, self._objects.upload_url(staging_key(project_id, sha256), UPLOAD_LIFETIME), expires
                )
                for sha256 in contents
            ]

        return await asyncio.to_thread(signed)

    def _staged(self, project_id: str) -> dict[str, int]:
        return {one.key: one.size_bytes for one in self._objects.list(staging_folder(project_id))}
