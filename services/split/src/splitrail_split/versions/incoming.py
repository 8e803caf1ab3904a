"""Contents on their way into drafts: what must be uploaded, and what was uploaded turned into assets there and then."""

from collections.abc import Mapping, Sequence

from splitrail_common import log
from splitrail_common.access import Scope

from splitrail_split.contents.failures import STORES_FAILED
from splitrail_split.contents.staging import PresignedUpload, Staging
from splitrail_split.contents.store import ContentStore
from splitrail_split.contents.verify import BATCH, UPLOAD_MISSING, Contents, Inspected
from splitrail_split.projects.service import Projects

_log = log.get(__name__)


class Incoming:
    """The way in for contents that belong to no import."""

    def __init__(self, store: ContentStore, projects: Projects, contents: Contents, staging: Staging) -> None:
        self._store = store
        self._projects = projects
        self._contents = contents
        self._staging = staging

    async def check(self, scope: Scope, project_id: str, sizes: Mapping[bytes, int]) -> list[PresignedUpload]:
        """Where to put what is missing of these contents; for the time of a hold, the others stay.

        Raises NOT_FOUND for the project, FAILED_PRECONDITION (PROJECT_ARCHIVED).
        """
        await self._projects.require_active(scope, project_id)
        possible = await self._staging.possible(project_id, list(sizes))
        await self._store.hold(project_id, list(sizes))
        known = await self._store.known(project_id, list(sizes))
        missing = await self._staging.missing(
            project_id, {sha256: size for sha256, size in sizes.items() if sha256 not in known}, possible
        )
        return await self._staging.uploads(project_id, missing)

    async def take(self, project_id: str, contents: Sequence[bytes]) -> Inspected:
        """Inspects contents that are not assets yet and makes the good ones assets, batch by batch; all that are good
        then stay for the time of a hold.

        Raises UNAVAILABLE when a store does not answer.
        """
        await self._store.hold(project_id, contents)
        inspected = Inspected(good=await self._store.known(project_id, contents))
        missing = [sha256 for sha256 in contents if sha256 not in inspected.good]
        for start in range(0, len(missing), BATCH):
            checked = await self._contents.inspect(project_id, missing[start : start + BATCH], keep=True)
            if checked.good:
                await self._store.record(project_id, list(checked.good.values()))
                await self._unstage(project_id, list(checked.good))
            inspected.good.update(checked.good)
            inspected.bad.update(checked.bad)
        gone = [sha256 for sha256, fault in inspected.bad.items() if fault.code == UPLOAD_MISSING]
        # Another call may have been faster: contents that it has made assets are no longer staged.
        for sha256, asset in (await self._store.known(project_id, gone)).items():
            del inspected.bad[sha256]
            inspected.good[sha256] = asset
        return inspected

    async def _unstage(self, project_id: str, contents: Sequence[bytes]) -> None:
        """Assets need no staged bytes. If this fails, they go when the hold ends."""
        try:
            async with self._store.superfluous(project_id, contents) as superfluous:
                await self._contents.unstage(project_id, superfluous)
        except (*STORES_FAILED, RuntimeError) as error:
            _log.warning("staged files were not removed, will be later", error=str(error))
