"""One import from claimed to ended: verify, parse, check, and commit a version or say why not."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from splitrail_common import log
from splitrail_common.annotations import LabelState
from splitrail_common.errors import PlatformError, Reason

from splitrail_split import formats
from splitrail_split.contents.verify import Contents, Fault, Inspected
from splitrail_split.domain.datasets import KINDS, Task
from splitrail_split.formats import Code, ParsedDataset, listing
from splitrail_split.formats.registry import READERS
from splitrail_split.imports import suggest
from splitrail_split.imports.archives import ArchiveError, Expanded, expand, image_count
from splitrail_split.imports.assembly import WHOLE_FILE, CheckedSource, assemble, check, fault_finding, printable
from splitrail_split.imports.domain import Claim, Finding, ImportState, Report, SourceFile
from splitrail_split.imports.files import ImportFiles
from splitrail_split.imports.places import Places
from splitrail_split.imports.sources import is_archive, is_listing, meant
from splitrail_split.imports.store import ImportStore, TaskMismatchError

_log = log.get(__name__)

_ABANDONED_AFTER = timedelta(days=7)
_UNCHANGED = Finding(
    "",
    None,
    "version_unchanged",
    "{} holds all that the source does: no new version was made",
    image_excluded=False,
    note=True,
)
_DROPPED = Finding(
    "",
    None,
    "caller_data_dropped",
    "{} has external ids or metadata of {} that this source does not give: the new version is without them",
    image_excluded=False,
    note=True,
)


class Importer:
    """Works on claimed imports."""

    def __init__(self, store: ImportStore, files: ImportFiles, contents: Contents, places: Places) -> None:
        self._store = store
        self._files = files
        self._contents = contents
        self._places = places

    async def run(self, claim: Claim) -> None:
        """Ends the import: FAILED, if its project was archived since it was started. Raises LeaseLostError; errors of
        the stores pass through, and the import can then be claimed again.
        """
        files = meant(await self._store.files(claim.import_id))
        try:
            with tempfile.TemporaryDirectory(prefix="splitrail-import-") as folder:
                await self._import(claim, files, Path(folder))
        except PlatformError as error:
            if error.reason != Reason.ERROR_REASON_PROJECT_ARCHIVED:
                raise
            await self._refuse(
                claim, Report(), f"the project {claim.project_id!r} was archived before the import had ended"
            )

    async def clean_up(self) -> bool:
        """Removes what one ended or forgotten import has left in the staging area; False when there is nothing. Errors
        of the stores pass through.
        """
        if count := await self._store.abandon(
            _ABANDONED_AFTER, f"abandoned: not started within {_ABANDONED_AFTER.days} days"
        ):
            _log.info("imports abandoned", count=count)
        return await self._files.unstage()

    async def _import(self, claim: Claim, files: list[SourceFile], folder: Path) -> None:
        if is_listing(files[0].path):
            await self._listed(claim, files[0], folder)
            return
        source = Expanded(files, {}, [])
        if is_archive(files[0].path):
            expanded = await self._expand(claim, files[0], folder / "archive")
            if isinstance(expanded, str):
                return
            claim, source = expanded
            files = source.files
        inspected = await self._files.images(claim, [file for file in files if file.is_image], source.read)
        annotations, faults = await self._annotations(claim, source, folder)
        if faults:
            # Without its label file an image would pass for unlabelled: no part of the source can be trusted.
            findings = [fault_finding(path, fault, excluded=False) for path, fault in faults.items()]
            await self._refuse(
                claim,
                Report(findings, len(findings), 0, 0),
                f"{len(findings)} annotation files are not as announced; {findings[0]}",
            )
            return
        sizes = {
            file.path: inspected.good[file.sha256] for file in files if file.is_image and file.sha256 in inspected.good
        }
        named = claim.format or formats.detect([file.path for file in files], KINDS[Task(claim.task)])
        format_ = await self._contents.run(partial(formats.recognize, named, annotations))
        if format_ != claim.format:
            claim = replace(claim, format=format_)
            await self._store.set_source(claim, len(files))
        parsed: ParsedDataset = await self._contents.run(
            partial(
                formats.parse,
                format_,
                annotations,
                {path: (asset.width, asset.height) for path, asset in sizes.items()},
                frozenset(file.path for file in files if file.is_image and file.sha256 in inspected.bad),
                KINDS[Task(claim.task)],
            )
        )
        checked = await self._contents.run(partial(_check, claim, parsed, source, inspected))
        await self._conclude(claim, checked, parsed, files, inspected)

    async def _listed(self, claim: Claim, file: SourceFile, folder: Path) -> None:
        """An import of what a CSV lists."""
        fetched, faults = await self._files.spool(claim, [file], folder)
        if faults:
            finding = fault_finding(file.path, faults[file.path], excluded=False)
            await self._refuse(claim, Report([finding], 1, 0, 0), f"the list is not as announced; {finding}")
            return
        locate = partial(self._places.locate, claim.project_id)
        try:
            found = await self._contents.run(lambda: listing.read(file.path, fetched[file.path].read_bytes(), locate))
        except listing.ListingError as error:
            finding = Finding(file.path, error.line, Code.UNREADABLE, str(error), image_excluded=False, note=False)
            await self._refuse(claim, Report([finding], 1, 0, 0), str(finding))
            return
        claim = replace(claim, image_count=len(found.images))
        await self._store.set_source(claim, 1)
        collected = await self._files.collect(
            claim, {path: listed.location for path, listed in found.images.items()}, folder
        )
        files, inspected = collected.files, collected.inspected
        good = {one.path: inspected.good[one.sha256] for one in files if one.sha256 in inspected.good}
        sizes = {path: (asset.width, asset.height) for path, asset in good.items()}
        parsed = await self._contents.run(
            partial(listing.parse, found, sizes, collected.absent, KINDS[Task(claim.task)])
        )
        checked = await self._contents.run(partial(_check, claim, parsed, Expanded(files, {}, []), inspected))
        report = replace(checked.report, excluded_count=checked.report.excluded_count + len(collected.absent))
        await self._conclude(claim, replace(checked, report=report), parsed, files, inspected)

    async def _conclude(
        self, claim: Claim, checked: CheckedSource, parsed: ParsedDataset, files: list[SourceFile], inspected: Inspected
    ) -> None:
        """Ends the import with a version, with its report alone, or with why there is none."""
        failure = refusal(claim, checked, parsed)
        if failure:
            await self._refuse(claim, checked.report, failure)
        elif claim.dry_run:
            await self._store.end(claim, ImportState.SUCCEEDED, checked.report)
        else:
            new = await self._contents.run(partial(assemble, claim, checked, parsed, files, inspected))
            try:
                version_id = await self._store.commit(
                    claim, new, checked.report, unchanged=_UNCHANGED, dropped=_DROPPED
                )
            except TaskMismatchError:
                await self._refuse(
                    claim,
                    checked.report,
                    f"the dataset {claim.dataset_name!r} describes something else: import into another one",
                )
            else:
                _log.info(
                    "imported",
                    import_id=claim.import_id,
                    version_id=version_id,
                    images=new.image_count,
                    problems=checked.report.problem_count,
                )

    async def _expand(self, claim: Claim, archive: SourceFile, target: Path) -> tuple[Claim, Expanded] | str:
        """What the archive holds, recorded as the import's source; or why the import was refused."""
        fault = await self._contents.fetch(claim.project_id, archive.sha256, archive.size_bytes, target)
        if fault is not None:
            finding = fault_finding(archive.path, fault, excluded=False)
            return await self._refuse(claim, Report([finding], 1, 0, 0), f"the archive is not as announced; {finding}")
        try:
            source = await self._contents.run(partial(expand, target, archive.path))
            paths = [file.path for file in source.files]
            if not any(file.is_image for file in source.files):
                return await self._refuse(
                    claim, _report(source.notes), f"{archive.path!r} holds no image: nothing can be imported"
                )
            format_ = claim.format or formats.detect(paths, KINDS[Task(claim.task)])
        except ArchiveError as error:
            count = len(error.findings)
            report = Report(error.findings, count, 0, 0)
            return await self._refuse(
                claim,
                report,
                f"{archive.path!r} is refused for {count} {'reason' if count == 1 else 'reasons'}; {error}",
            )
        except formats.UnknownFormatError as error:
            return await self._refuse(claim, _report(source.notes), str(error))
        claim = replace(claim, format=format_, image_count=image_count(source.files))
        await self._store.set_source(claim, len(source.files))
        await self._store.put_members(claim, [file.sha256 for file in source.files if file.is_image])
        return claim, source

    async def _annotations(
        self, claim: Claim, source: Expanded, folder: Path
    ) -> tuple[dict[str, formats.Loader], dict[str, Fault]]:
        """How to read each annotation file, by path, and what is wrong with the others."""
        files = [file for file in source.files if not file.is_image]
        fetched, faults = await self._files.spool(
            claim, [file for file in files if file.sha256 not in source.read], folder
        )
        loaders: dict[str, formats.Loader] = {path: local.read_bytes for path, local in fetched.items()}
        return {
            **loaders,
            **{file.path: source.read[file.sha256] for file in files if file.sha256 in source.read},
        }, faults

    async def _refuse(self, claim: Claim, report: Report, failure: str) -> str:
        """Ends the import. Its report has at least one problem, which tells a source that was refused from an import
        that broke.
        """
        if not report.problem_count:
            finding = Finding("", None, Code.REFUSED, failure, image_excluded=False, note=False)
            report = replace(report, findings=[finding, *report.findings], problem_count=1)
        await self._store.end(claim, ImportState.FAILED, report, failure)
        _log.info("import refused", import_id=claim.import_id, failure=failure)
        return failure


def _check(claim: Claim, parsed: ParsedDataset, source: Expanded, inspected: Inspected) -> CheckedSource:
    suggestion = suggest.groups(parsed.items, folders=claim.task != Task.CLASSIFY)
    return check(parsed, source.files, inspected, [*source.notes, *([suggestion] if suggestion else [])])


def _report(notes: Sequence[Finding]) -> Report:
    return Report(notes, 0, len(notes), 0)


def refusal(claim: Claim, checked: CheckedSource, parsed: ParsedDataset) -> str:
    """Why nothing of the source is imported; empty when it is."""
    problems = [finding for finding in checked.report.findings if not finding.note]
    first = f"; the first: {problems[0]}" if problems else ""
    if any(printable(name) != name for name in parsed.class_names):
        return "a class name holds characters that are not text (NUL or broken Unicode)"
    if missed := _missed(claim, checked, problems):
        return missed
    if not checked.items:
        return f"none of the {claim.image_count} images can be imported{first}"
    if claim.strict and checked.report.problem_count:
        count = checked.report.problem_count
        return f"strict: the source has {count} {'problem' if count == 1 else 'problems'}{first}"
    return ""


def _missed(claim: Claim, checked: CheckedSource, problems: Sequence[Finding]) -> str:
    """Why images would pass for unlabelled, or classes lose their names, though the source says otherwise; empty when
    they do not.
    """
    unlabelled = sum(item.label_state is LabelState.UNLABELLED for item in checked.items)
    nothing = bool(checked.items) and unlabelled == len(checked.items)
    reader = (
        READERS.get(claim.format) if claim.format else None
    )  # a list of objects has none: it is one file, which was read
    for problem in problems:
        shared = problem.code in WHOLE_FILE and not problem.image_excluded
        of_many = bool(unlabelled) and reader is not None and reader.one_file_of_many
        declares = reader is not None and reader.declares(problem.path)
        if shared and (nothing or of_many or declares):
            return f"a file that says something of many images cannot be read: mend it or leave it out; {problem}"
    absent = next((problem for problem in problems if problem.code == Code.IMAGE_ABSENT), None)
    named = reader is not None and reader.names_images
    return f"no annotation is of an image that is there; the first: {absent}" if nothing and named and absent else ""
