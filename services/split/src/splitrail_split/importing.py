"""One import from claimed to ended: verify, parse, judge, and commit a version or say why not."""

import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path

from splitrail_common import log

from splitrail_split import formats
from splitrail_split.assembly import Judged, assemble, fault_finding, judge, printable
from splitrail_split.contents import Contents
from splitrail_split.domain import FORMATS, Claim, Finding, ImportState, Report, SourceFile
from splitrail_split.formats import ParsedDataset
from splitrail_split.import_store import ImportStore, TaskMismatchError

_log = log.get(__name__)

_ABANDONED_AFTER = timedelta(days=7)
_UNCHANGED = Finding(
    "", None, "version_unchanged", "the source holds exactly what {} holds: no new version was made", image_excluded=False, note=True
)


class Importer:
    """Works on claimed imports."""

    def __init__(self, store: ImportStore, contents: Contents) -> None:
        self._store = store
        self._contents = contents

    async def run(self, claim: Claim) -> None:
        """Ends the import. Raises LeaseLostError; errors of the stores pass through, and the import can then be claimed again."""
        files = await self._store.files(claim.import_id)
        with tempfile.TemporaryDirectory(prefix="splitrail-import-") as folder:
            await self._import(claim, files, Path(folder))

    async def clean_up(self) -> bool:
        """Removes what one ended or forgotten import has left in the staging area; False when there is nothing. Errors of the stores pass through."""
        if count := await self._store.abandon(_ABANDONED_AFTER, f"abandoned: not started within {_ABANDONED_AFTER.days} days"):
            _log.info("imports abandoned", count=count)
        return await self._contents.unstage()

    async def _import(self, claim: Claim, files: list[SourceFile], folder: Path) -> None:
        inspected = await self._contents.images(claim, [file for file in files if file.is_image])
        annotations, faults = await self._contents.spool(claim, [file for file in files if not file.is_image], folder)
        if faults:
            # Without its label file an image would pass for unlabelled: no part of the source can be trusted.
            findings = [fault_finding(path, fault, excluded=False) for path, fault in faults.items()]
            await self._refuse(claim, Report(findings, len(findings), 0, 0), f"{len(findings)} annotation files are not as announced; {findings[0]}")
            return
        sizes = {file.path: inspected.good[file.sha256] for file in files if file.is_image and file.sha256 in inspected.good}
        parsed: ParsedDataset = await self._contents.run(
            partial(
                formats.parse,
                FORMATS[claim.format],
                {path: local.read_bytes for path, local in annotations.items()},
                {path: (asset.width, asset.height) for path, asset in sizes.items()},
                frozenset(file.path for file in files if file.is_image and file.sha256 in inspected.bad),
            )
        )
        judged = await self._contents.run(partial(judge, parsed, files, inspected))
        failure = refusal(claim, judged, parsed)
        if failure:
            await self._refuse(claim, judged.report, failure)
        elif claim.dry_run:
            await self._store.end(claim, ImportState.SUCCEEDED, judged.report)
        else:
            new = await self._contents.run(partial(assemble, claim, judged, parsed, files, inspected))
            try:
                version_id = await self._store.commit(claim, new, judged.report, _UNCHANGED)
            except TaskMismatchError:
                await self._refuse(claim, judged.report, f"the dataset {claim.dataset_name!r} describes something else: import into another one")
            else:
                _log.info("imported", import_id=claim.import_id, version_id=version_id, images=new.image_count, problems=judged.report.problem_count)

    async def _refuse(self, claim: Claim, report: Report, failure: str) -> None:
        await self._store.end(claim, ImportState.FAILED, report, failure)
        _log.info("import refused", import_id=claim.import_id, failure=failure)


def refusal(claim: Claim, judged: Judged, parsed: ParsedDataset) -> str:
    """Why nothing of the source is imported; empty when it is."""
    problems = [finding for finding in judged.report.findings if not finding.note]
    first = f"; the first: {problems[0]}" if problems else ""
    if any(printable(name) != name for name in parsed.class_names):
        return "a class name holds characters that are no text (NUL or broken Unicode)"
    if not judged.items:
        return f"none of the {claim.image_count} images can be imported{first}"
    if claim.strict and judged.report.problem_count:
        count = judged.report.problem_count
        return f"strict: the source has {count} {'problem' if count == 1 else 'problems'}{first}"
    return ""
