"""Use cases of imports: open, announce files, start, look at, watch."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from splitrail_common.access import Scope
from splitrail_common.errors import PlatformError, Reason, Violation, invalid, not_found, precondition, unavailable
from splitrail_common.paging import Page
from splitrail_common.server import Draining

from splitrail_split import formats
from splitrail_split.contents.staging import PresignedUpload, Staging
from splitrail_split.contents.store import ContentStore
from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain.datasets import KINDS, Task
from splitrail_split.formats import Format
from splitrail_split.imports.domain import Finding, Import, ImportState, ImportView, NewImport, SourceFile, StartOptions
from splitrail_split.imports.sources import is_archive, is_listing, meant
from splitrail_split.imports.store import ImportStore
from splitrail_split.projects.service import Projects

SHOWN_FINDINGS = 1000
_WATCH_SECONDS = 0.5
_HEARTBEAT_SECONDS = 10.0


class Imports:
    """What callers do with imports."""

    def __init__(
        self,
        store: ImportStore,
        *,
        projects: Projects,
        dataset_store: DatasetStore,
        contents: ContentStore,
        staging: Staging,
        queued: asyncio.Event,
        draining: Draining,
    ) -> None:
        self._store = store
        self._dataset_store = dataset_store
        self._contents = contents
        self._projects = projects
        self._staging = staging
        self._queued = queued
        self._draining = draining

    async def create(self, scope: Scope, new: NewImport) -> ImportView:
        """Opens an import, or finds the one that the same request has opened, unless that failed or was cancelled.

        Raises NOT_FOUND for the project, FAILED_PRECONDITION (PROJECT_ARCHIVED), INVALID_ARGUMENT, also when the
        request_id belongs to another request.
        """
        await self._projects.get(scope, new.project_id)
        import_id = None
        # Another call with this request_id may open one meanwhile, and that one may fail before it is looked for.
        while import_id is None:
            import_id = await self._store.made_by(new.project_id, new.key) or await self._open(scope, new)
        return await self.get(scope, import_id)

    async def _open(self, scope: Scope, new: NewImport) -> str | None:
        """The id of a new import; None when its request_id is that of another one."""
        await self._projects.require_active(scope, new.project_id)
        dataset = await self._dataset_store.find_dataset(scope, new.project_id, new.dataset_name)
        if dataset and dataset.task != new.task:
            is_of, wanted = Task(dataset.task).name.lower(), Task(new.task).name.lower()
            raise invalid(Violation("task", f"the dataset {new.dataset_name!r} is of the task {is_of}, not {wanted}"))
        return await self._store.create(new)

    async def get(self, scope: Scope, import_id: str) -> ImportView:
        """As it stands. Raises NOT_FOUND."""
        found = await self._store.get(scope, import_id)
        if found is None:
            raise not_found("import", import_id)
        version = await self._dataset_store.get_version(scope, found.version_id) if found.version_id else None
        numbered = await self._store.findings(import_id, after=0, limit=SHOWN_FINDINGS) if found.state.ended else []
        return ImportView(found, version, [finding for _, finding in numbered])

    async def add_files(
        self, scope: Scope, import_id: str, files: Sequence[SourceFile], contents: Mapping[bytes, bytes]
    ) -> list[PresignedUpload]:
        """Announces files, with the bytes of some by hash; says which contents are not here yet.

        Raises NOT_FOUND, FAILED_PRECONDITION (IMPORT_STARTED, IMPORT_ENDED, PROJECT_ARCHIVED).
        """
        found = (await self.get(scope, import_id)).found
        if found.state != ImportState.OPEN:
            raise _not_open(found, "open another one to add files")
        await self._projects.require_active(scope, found.project_id)
        if not files:
            return []
        possible = await self._staging.possible(
            found.project_id, list({file.sha256 for file in files} - contents.keys())
        )
        if not await self._store.put_files(found, files, contents):
            raise _not_open((await self.get(scope, import_id)).found, "open another one to add files")
        await self._contents.settled(found.project_id)
        return await self._staging.uploads(found.project_id, await self._missing(found, files, possible))

    async def start(self, scope: Scope, import_id: str, options: StartOptions) -> ImportView:
        """Queues the import once everything is there. One that was started with the same options and has not failed or
        been cancelled stays as it is.

        Raises NOT_FOUND, INVALID_ARGUMENT, FAILED_PRECONDITION (UPLOAD_MISSING, IMPORT_STARTED with other options,
        IMPORT_ENDED, PROJECT_ARCHIVED).
        """
        view = await self.get(scope, import_id)
        if view.found.state != ImportState.OPEN:
            return _started(view, options)
        await self._projects.require_active(scope, view.found.project_id)
        files = meant(await self._store.files(import_id))
        format_ = _format(files, options.format, view.found.task)
        if missing := await self._missing(view.found, files, {file.sha256 for file in files}):
            first = next(file for file in files if file.sha256 in missing)
            raise precondition(
                Reason.ERROR_REASON_UPLOAD_MISSING,
                f"{len(missing)} contents are not uploaded, or with another size than announced; the first is that of {first.path!r} with"
                f" {first.size_bytes} bytes: announce the files again for their upload addresses",
                metadata={"missing": str(len(missing))},
            )
        queued = await self._store.queue(view.found, format_, options)
        view = await self.get(scope, import_id)
        if not queued:
            return _started(view, options)  # or cancelled, by another call
        self._queued.set()
        return view

    async def imports(
        self,
        scope: Scope,
        *,
        project_id: str,
        dataset_name: str,
        state: ImportState | None,
        before: str | None,
        limit: int,
    ) -> Page[ImportView]:
        """Newest first, without findings. Raises NOT_FOUND for a project that the caller cannot see."""
        if project_id:
            await self._projects.get(scope, project_id)
        found = await self._store.list_imports(
            scope, project_id=project_id, dataset_name=dataset_name, state=state, before=before, limit=limit + 1
        )
        page = Page.of(found, limit)
        versions = await self._dataset_store.get_versions([one.version_id for one in page.items if one.version_id])
        return Page([ImportView(one, versions.get(one.version_id or ""), ()) for one in page.items], page.more)

    async def cancel(self, scope: Scope, import_id: str) -> ImportView:
        """The cancelled import. Raises NOT_FOUND, FAILED_PRECONDITION (IMPORT_ENDED) when it has succeeded or failed."""
        await self.get(scope, import_id)
        cancelled = await self._store.cancel(import_id)
        view = await self.get(scope, import_id)
        if not cancelled and view.found.state != ImportState.CANCELLED:
            raise _ended(view.found, "it cannot be cancelled any more")
        return view

    async def watch(self, scope: Scope, import_id: str) -> AsyncIterator[ImportView]:
        """The import when it changes, until it has ended, and at least every heartbeat. Raises UNAVAILABLE when the
        service ends first.

        The row is read twice a second: that serves any number of processes, and an import takes seconds.
        """
        sent: Import | None = None
        sent_at = 0.0
        while True:
            view = await self.get(scope, import_id)
            if view.found != sent or time.monotonic() - sent_at >= _HEARTBEAT_SECONDS:
                yield view
                sent, sent_at = view.found, time.monotonic()
            if view.found.state.ended:
                return
            if await self._ending_within(_WATCH_SECONDS):
                raise unavailable("the split service, which restarts,")

    async def problems(self, scope: Scope, import_id: str, after: int, limit: int) -> Page[tuple[int, Finding]]:
        """Findings with their numbers. Raises NOT_FOUND."""
        if await self._store.get(scope, import_id) is None:
            raise not_found("import", import_id)
        return Page.of(await self._store.findings(import_id, after=after, limit=limit + 1), limit)

    async def _ending_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._draining.event.wait()
        except TimeoutError:
            return False
        return True

    async def _missing(self, opened: Import, files: Sequence[SourceFile], possible: Collection[bytes]) -> list[bytes]:
        """Contents that must be uploaded: images that are not assets yet, annotation files that did not come along, but
        for what is staged in full.
        """
        known = await self._contents.known(opened.project_id, [file.sha256 for file in files if file.is_image])
        inline = await self._store.have_inline(opened.import_id, [file.sha256 for file in files if not file.is_image])
        sizes = {
            file.sha256: file.size_bytes
            for file in files
            if not (file.sha256 in known if file.is_image else file.sha256 in inline)
        }
        return await self._staging.missing(opened.project_id, sizes, possible)


def _format(files: Sequence[SourceFile], wanted: Format | None, task: int) -> Format | None:
    """The format that these files can be imported in; None for an archive of which nothing is known yet. Raises
    INVALID_ARGUMENT.
    """
    whole = next((file.path for file in files if is_archive(file.path) or is_listing(file.path)), None)
    if whole is not None and len(files) > 1:
        raise invalid(
            Violation(
                "import_id",
                f"{whole!r} is one of {len(files)} announced files: an archive or a list must be all of a source",
            )
        )
    if whole is None and not any(file.is_image for file in files):
        count = f"none of the {len(files)} announced files is an image" if files else "no file was announced"
        raise invalid(Violation("import_id", f"{count}: nothing can be imported"))
    listed = whole is not None and is_listing(whole)
    if wanted and listed != (wanted is Format.CSV):
        raise invalid(Violation("format", "a list of objects is one .csv file, and a .csv file is nothing else"))
    if listed:
        return Format.CSV
    try:
        return (
            wanted if wanted or whole is not None else formats.detect([file.path for file in files], KINDS[Task(task)])
        )
    except formats.UnknownFormatError as error:
        raise invalid(Violation("format", str(error))) from error


def _started(view: ImportView, options: StartOptions) -> ImportView:
    """An import that is no longer open, as the answer to a start. Raises FAILED_PRECONDITION when it has failed, was
    cancelled or was started with other options.
    """
    found = view.found
    same = found.started_with == options
    if found.state in (ImportState.FAILED, ImportState.CANCELLED) or (found.state.ended and not same):
        raise _ended(found, "open another one")
    if not same:
        raise _not_open(found, f"with other options ({_shown(found.started_with)}); cancel it, or open another one")
    return view


def _shown(options: StartOptions) -> str:
    return f"format {options.format or 'to be detected'}, strict {options.strict}, dry_run {options.dry_run}".lower()


def _not_open(found: Import, remedy: str) -> PlatformError:
    """FAILED_PRECONDITION: the import has been started, or has ended."""
    if found.state.ended:
        return _ended(found, remedy)
    return precondition(
        Reason.ERROR_REASON_IMPORT_STARTED,
        f"the import {found.import_id} has been started: {remedy}",
        field="import_id",
    )


def _ended(found: Import, remedy: str) -> PlatformError:
    """FAILED_PRECONDITION: the import has ended."""
    how = "was cancelled" if found.state is ImportState.CANCELLED else f"has {found.state.lower()}"
    text = f"the import {found.import_id} {how}: {remedy}"
    return precondition(Reason.ERROR_REASON_IMPORT_ENDED, text, metadata={"state": found.state}, field="import_id")
