"""Signed addresses at which clients read assets."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from splitrail_common.objects import ObjectStore

from splitrail_split.contents.keys import asset_key

SHOWN_LIFETIME = timedelta(minutes=15)
"""For images that are looked at."""
COPIED_LIFETIME = timedelta(hours=1)
"""For images of a whole part or version that are copied elsewhere."""


class AssetUrls:
    """Signs addresses."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def sign(self, project_id: str, contents: Sequence[bytes], lifetime: timedelta) -> list[str]:
        """The addresses of these contents. A thousand take a moment: on a thread."""
        return await asyncio.to_thread(lambda: [self.sign_one(project_id, sha256, lifetime) for sha256 in contents])

    def sign_one(self, project_id: str, sha256: bytes, lifetime: timedelta) -> str:
        """The address of one content, where the caller is on a thread already."""
        return self._objects.download_url(asset_key(project_id, sha256), lifetime)
