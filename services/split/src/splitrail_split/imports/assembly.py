"""From a parsed source to the columns and rows of a version: pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg.types.json import Jsonb
from splitrail_common.annotations import LabelState
from splitrail_common.text import counted

from splitrail_split.contents.verify import Fault, Inspected
from splitrail_split.domain import arrays
from splitrail_split.domain.parts import PARTS
from splitrail_split.formats import Code, ParsedDataset, ParsedImage, Problem, Severity
from splitrail_split.imports.domain import Claim, Finding, Report, SourceFile
from splitrail_split.imports.store import NewVersion
from splitrail_split.splits.domain import MadeRevision, Method, SplitParameters
from splitrail_split.splits.revision import Inputs, make_revision
from splitrail_split.versions import columns
from splitrail_split.versions.near import Links

MAX_FINDINGS = 100_000
"""Findings kept; all are counted."""

_FEWEST_PARTS = 2
WHOLE_FILE = (Code.UNREADABLE, Code.NOT_UTF8, Code.TOO_LARGE)
"""What is wrong with all of a file."""


@dataclass(frozen=True, slots=True)
class CheckedSource:
    """A source as far as it can be imported: images by path, without repeated contents."""

    items: Sequence[ParsedImage]
    report: Report


def printable(text: str) -> str:
    """Text from a source as it can be stored and sent: no NUL, no lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def check(
    parsed: ParsedDataset, files: Sequence[SourceFile], inspected: Inspected, notes: Sequence[Finding] = ()
) -> CheckedSource:
    """What is kept, and the report of what is not. notes: what is to be told besides.

    Equal bytes under several paths are one image: the first by path that somebody has annotated is kept, or the first.
    """
    images = {file.path: file.sha256 for file in files if file.is_image}
    kept, repeated = _without_repeats(parsed.items, images)
    kept_paths = {item.path for item in kept}
    notes = [*notes, *_parts(kept, parsed.source_splits)]
    stems = {PurePosixPath(path).stem for path in images if path not in kept_paths}
    bad = [
        fault_finding(path, inspected.bad[sha256], excluded=True)
        for path, sha256 in images.items()
        if sha256 in inspected.bad
    ]
    found = [_finding(problem, images, kept_paths, stems) for problem in parsed.problems]
    findings = sorted(
        [*notes, *bad, *repeated, *found], key=lambda one: (one.note, one.path, one.line or 0, one.object or 0)
    )
    note_count = sum(
        count for code, count in parsed.problem_counts.items() if Problem("", None, code, "").severity is Severity.NOTE
    )
    problems = sum(parsed.problem_counts.values()) - note_count + len(bad) + len(repeated)
    return CheckedSource(
        kept, Report(findings[:MAX_FINDINGS], problems, note_count + len(notes), len(images) - len(kept))
    )


def fault_finding(path: str, fault: Fault, *, excluded: bool) -> Finding:
    """A content that cannot be used, as a finding about one of its paths."""
    return Finding(path, None, fault.code, printable(fault.message), excluded, note=False)


def _finding(problem: Problem, images: Mapping[str, bytes], kept: set[str], excluded_stems: set[str]) -> Finding:
    path = PurePosixPath(problem.path)
    excluded = (problem.path in images and problem.path not in kept) or (
        problem.code in WHOLE_FILE and path.stem in excluded_stems
    )
    note = problem.severity is Severity.NOTE
    return Finding(
        printable(problem.path),
        problem.line,
        problem.code,
        printable(problem.message),
        excluded and not note,
        note,
        problem.object,
    )


def _parts(items: Sequence[ParsedImage], source_splits: Mapping[str, str]) -> list[Finding]:
    """A note of the parts that the source has the images in, when it will be kept as a split: see `imported`."""
    sizes = Counter(source_splits.get(item.path) for item in items if item.label_state is not LabelState.UNLABELLED)
    found = [f"{name} {sizes[name]}" for name in PARTS if sizes[name]]
    if len(found) < _FEWEST_PARTS:
        return []
    message = f"the source has parts of its own ({', '.join(found)}): they are the version's first split, which counts until another is made"
    return [Finding("", None, Code.SPLIT_FOUND, message, image_excluded=False, note=True)]


def _without_repeats(
    items: Sequence[ParsedImage], contents: Mapping[str, bytes]
) -> tuple[list[ParsedImage], list[Finding]]:
    first: dict[bytes, ParsedImage] = {}
    for item in sorted(items, key=lambda item: (item.label_state is LabelState.UNLABELLED, item.path)):
        first.setdefault(contents[item.path], item)
    kept = sorted(first.values(), key=lambda item: item.path)
    findings = []
    for item in items:
        winner = first[contents[item.path]]
        if winner is not item:
            same = (item.annotations, item.label_state) == (winner.annotations, winner.label_state)
            why = "left out" if same else "left out, though its annotations differ"
            findings.append(
                Finding(
                    item.path,
                    None,
                    Code.DUPLICATE_IMAGE,
                    f"holds the same bytes as {winner.path}, which is kept: {why}",
                    True,
                    note=False,
                )
            )
    return kept, findings


def assemble(
    claim: Claim, checked: CheckedSource, parsed: ParsedDataset, files: Sequence[SourceFile], inspected: Inspected
) -> NewVersion:
    """The version that the source makes, ordinals in the order of paths. Costs seconds for a million images: run it on
    a thread.
    """
    contents = {file.path: file.sha256 for file in files if file.is_image}
    items = checked.items
    assets = [inspected.good[contents[item.path]] for item in items]
    images = columns.of_images(
        [asset.sha256 for asset in assets],
        [item.annotations for item in items],
        [item.label_state for item in items],
        [asset.perceptual_hash for asset in assets],
    )
    stored = columns.of_version(images, [item.path for item in items], [item.metadata for item in items])
    parts = np.fromiter(
        (PARTS.get(parsed.source_splits.get(item.path, ""), 0) for item in items), dtype=np.uint8, count=len(items)
    )
    return NewVersion(
        class_names=parsed.class_names,
        **images.counts(len(parsed.class_names)),
        digest=images.digest(parsed.class_names),
        columns={name: arrays.encode(name, values) for name, values in stored.items()},
        rows=[
            (
                *(ordinal, asset.sha256, item.path, asset.width, asset.height, asset.size_bytes, asset.format),
                *(int(item.label_state), item.annotations, "", Jsonb(dict(item.metadata))),
            )
            for ordinal, (item, asset) in enumerate(zip(items, assets, strict=True))
        ],
        imported_split=imported(stored, images.labels, parsed.class_names, parts),
        report={
            "import_id": claim.import_id,
            "format": claim.format,
            "problem_counts": {str(code): count for code, count in parsed.problem_counts.items()},
            "excluded_count": checked.report.excluded_count,
            **({"flip_idx": list(parsed.flip_idx)} if parsed.flip_idx else {}),
        },
    )


def imported(
    stored: Mapping[str, npt.NDArray[Any]],
    labels: arrays.Labels,
    class_names: Sequence[str],
    parts: npt.NDArray[np.uint8],
) -> MadeRevision | None:
    """The parts (N,) in which the source had the images, as a revision; None when all annotated images are in one part:
    the source is not split.
    """
    looked_at = stored[arrays.LABEL_STATE] != LabelState.UNLABELLED
    vector = np.where(looked_at, parts, 0).astype(np.uint8)
    sizes = np.bincount(vector, minlength=len(PARTS) + 1)[1:]
    if np.count_nonzero(sizes) < _FEWEST_PARTS:
        return None
    train, val, test = (float(size) for size in sizes / sizes.sum())
    left_out = int(np.count_nonzero(looked_at & (vector == 0)))
    inputs = Inputs(
        content=stored[arrays.CONTENT],
        annotation=stored[arrays.ANNOTATION],
        label_state=stored[arrays.LABEL_STATE],
        labels=labels,
        class_names=class_names,
        links=Links(stored[arrays.LINK_FIRST], stored[arrays.LINK_SECOND], stored[arrays.LINK_DISTANCE]),
        next_frame=stored[arrays.NEXT_FRAME],
        findings=[f"in no part of the source: {counted(left_out, 'labelled image')}"] if left_out else [],
    )
    return make_revision(inputs, SplitParameters((train, val, test), 0, Method.IMPORTED), vector=vector)
