"""Tables and lines for people. Text from users is shown literally: no markup, no control characters."""

import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from rich.text import Text
from splitrail.metrics.v1 import metrics_pb2
from splitrail.split.v1 import dataset_pb2, import_pb2, project_pb2, split_pb2, split_service_pb2, version_pb2
from splitrail.trainer.v1 import evaluation_pb2, job_pb2, run_pb2, run_service_pb2

from ..references import from_value, method_name, part_name, version_reference
from ..text import counted, plain
from ..vocabulary import word
from .metrics import MetricNames, fraction, named
from .words import difference_name, evaluation_reference, field_name, import_state_name, state_name

STATE_STYLES: Mapping[str, str] = {
    "queued": "yellow",
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
}


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table; the columns named in `right` are aligned to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(Text(column), justify="right" if column in right else "left", no_wrap=True)
    return made


def cells(*values: object) -> list[Text]:
    """Cells of a row, safe to show."""
    return [value if isinstance(value, Text) else Text(plain(str(value))) for value in values]


def state_text(job: job_pb2.Job) -> Text:
    """A job's state in its colour."""
    name = state_name(job)
    return Text(name, style=STATE_STYLES.get(name, ""))


def local_time(time: Timestamp) -> str:
    """`2026-11-28 17:05`, where the command runs."""
    return time.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def elapsed(job: job_pb2.Job) -> float | None:
    """Seconds from the first claim to the end, or until now; None before it was claimed."""
    if not job.start_time.seconds:
        return None
    end = job.end_time.ToDatetime(UTC) if job.end_time.seconds else datetime.now(UTC)
    return (end - job.start_time.ToDatetime(UTC)).total_seconds()


def problem_line(item: import_pb2.Problem) -> str:
    """`labels/a.txt:3: class 7 is not one of the 3 names`, `instances.json, annotation 3: box without area`."""
    place = f"{item.path}:{item.line}" if item.HasField("line") else item.path
    if item.HasField("object"):
        place = f"{item.path}, annotation {item.object}"
    return (f"{place}: " if place else "") + item.message + (" (image left out)" if item.image_excluded else "")


def datasets(items: Sequence[dataset_pb2.Dataset]) -> Table:
    made = table("DATASET", "NEWEST", "TASK", "CREATED")
    for item in items:
        newest = f"{item.name}@v{item.latest_version}" if item.latest_version else "none"
        made.add_row(*cells(item.name, newest, word(dataset_pb2.Task, item.task), local_time(item.create_time)))
    return made


def projects(items: Sequence[project_pb2.Project]) -> Table:
    made = table("PROJECT", "STATE", "EXTERNAL ID", "CREATED")
    for item in items:
        state = "archived" if item.HasField("archive_time") else "active"
        made.add_row(*cells(item.project_id, state, item.external_id, local_time(item.create_time)))
    return made


def imports(items: Sequence[import_pb2.Import]) -> Table:
    right = ["FILES", "IMAGES", "PROBLEMS"]
    made = table("IMPORT", "DATASET", "STATE", *right, "VERSION", "CREATED", right=right)
    for item in items:
        counts = (item.file_count, item.image_count, item.problem_count)
        version = version_reference(item.version) if item.HasField("version") else "–"
        made.add_row(
            *cells(
                item.import_id,
                item.dataset_name,
                import_state_name(item),
                *counts,
                version,
                local_time(item.create_time),
            )
        )
    return made


def versions(drafts: Sequence[version_pb2.Draft], committed: Sequence[dataset_pb2.DatasetVersion]) -> Table:
    """Drafts with when they were begun, then versions with when they were committed."""
    right = ["IMAGES", "OBJECTS", "UNLABELLED", "CLASSES"]
    made = table("VERSION", *right, "DIGEST", "CREATED", right=right)
    for item, created in [
        *((one.version, one.create_time) for one in drafts),
        *((one, one.commit_time) for one in committed),
    ]:
        counts = (item.image_count, item.object_count, item.unlabelled_count, len(item.class_names))
        made.add_row(*cells(version_reference(item), *counts, item.digest[:12] or "draft", local_time(created)))
    return made


def class_difference_line(item: version_pb2.ClassDifference) -> str:
    """`class cell: added`, `class rbc: was cell`."""
    if item.kind == version_pb2.DIFFERENCE_KIND_CHANGED:
        return f"class {item.name}: was {item.other_name}"
    return f"class {item.name or item.other_name}: {difference_name(item.kind)}"


def asset_difference_line(item: version_pb2.AssetDifference) -> str:
    """`images/a.jpg: removed`, `images/b.jpg: annotations, path (was images/c.jpg)`."""
    if item.kind != version_pb2.DIFFERENCE_KIND_CHANGED:
        return f"{item.asset.path or item.other.path}: {difference_name(item.kind)}"
    was = f" (was {item.other.path})" if item.other.path != item.asset.path else ""
    return f"{item.asset.path}: {', '.join(field_name(field) for field in item.fields)}{was}"


def split_counts(item: split_pb2.SplitRevision) -> Table:
    """Images (objects) of each class in each part."""
    parts = [part_name(part.part) for part in item.certificate.parts]
    made = table("IMAGES (OBJECTS)", *parts, "DEVIATION", right=[*parts, "DEVIATION"])
    made.add_row(
        *cells("all", *(f"{part.images} ({part.objects})" for part in item.certificate.parts), ""), style="bold"
    )
    for balance in item.certificate.classes:
        counts = [f"{part.images} ({part.objects})" for part in balance.parts]
        worst = max((part.deviation for part in balance.parts if not math.isnan(part.deviation)), default=0.0)
        made.add_row(*cells(balance.class_name, *counts, f"{worst:.1%}"))
    if any(part.background_images for part in item.certificate.parts):
        made.add_row(
            *cells("without objects", *(part.background_images for part in item.certificate.parts), ""), style="dim"
        )
    return made


def splits(items: Sequence[split_pb2.SplitRevision], current: str) -> Table:
    """Revisions; `current` is the id of the current split."""
    made = table(
        "SPLIT",
        "METHOD",
        "TRAIN",
        "VAL",
        "TEST",
        "SEED",
        "DEVIATION",
        "DIGEST",
        right=["TRAIN", "VAL", "TEST", "SEED", "DEVIATION"],
    )
    for item in items:
        sizes = [part.images for part in item.certificate.parts]
        kind, off = method_name(item.parameters.method), f"{item.certificate.max_deviation:.1%}"
        name = f"{item.reference} (current)" if item.split_id == current else item.reference
        made.add_row(*cells(name, kind, *sizes, item.parameters.seed, off, item.digest[:12]))
    return made


def moves(items: Sequence[split_service_pb2.Move]) -> Table:
    """Counts of images by part before and now; a dash for images in no part or not in the version."""
    made = table("BEFORE", "NOW", "IMAGES", right=["IMAGES"])
    for item in items:
        style = "" if item.before == item.now else "bold"
        made.add_row(*cells(part_name(item.before), part_name(item.now), item.images), style=style)
    return made


def moved_line(item: split_service_pb2.MovedAsset) -> str:
    """`images/a.jpg: val -> test`."""
    return f"{item.asset.path}: {part_name(item.before)} -> {part_name(item.asset.part)}"


def leaks(items: Sequence[split_service_pb2.Leak]) -> Table:
    made = table("BITS", "PART", "IMAGE", "PART", "LOOKS LIKE", right=["BITS"])
    for item in items:
        first, second = item.first, item.second
        made.add_row(*cells(item.distance, part_name(first.part), first.path, part_name(second.part), second.path))
    return made


def runs(items: Sequence[run_pb2.Run], summaries: Mapping[str, metrics_pb2.RunSummary], names: MetricNames) -> Table:
    """With the first headline metric of each run's best epoch."""
    made = table("RUN", "STATE", "MODEL", "EPOCHS", "BEST EPOCH", "SPLIT", "CREATED", right=["EPOCHS"])
    for item in items:
        summary = summaries.get(item.run_id, metrics_pb2.RunSummary())
        first = dict(itertools.islice(names.headlines(summary.best.metrics).items(), 1))
        best = named(summary.best.metrics, first, "val") or "–"
        epochs = f"{summary.epochs_done}/{item.epochs}"
        made.add_row(
            *cells(
                item.reference,
                state_text(item.job),
                item.model,
                epochs,
                best,
                item.split_reference,
                local_time(item.job.create_time),
            )
        )
    return made


def evaluations(items: Sequence[evaluation_pb2.Evaluation], names: MetricNames) -> Table:
    made = table("EVALUATION", "STATE", "PART", "RESULT", "OF", "CREATED")
    for item in items:
        part, overall = part_name(item.part), item.result.overall
        result = named(overall, names.headlines(overall), part) or "–"
        contaminated = " (trained on!)" if item.contaminated_images else ""
        reference = evaluation_reference(item)
        made.add_row(
            *cells(
                reference,
                state_text(item.job),
                part + contaminated,
                result,
                item.split_reference,
                local_time(item.job.create_time),
            )
        )
    return made


def evaluation_result(item: evaluation_pb2.Evaluation, names: MetricNames) -> Table:
    """Overall and per class; every column of metrics names the part that it was measured on."""
    part = part_name(item.part)
    keys = names.qualities(item.result.overall)
    titles = [f"{part} {title}" for title in keys]
    made = table("CLASS", "images", "objects", *titles, right=["images", "objects", *titles])
    overall = [fraction(item.result.overall.get(key)) for key in keys.values()]
    made.add_row(*cells("all", item.result.images, item.result.objects, *overall), style="bold")
    for row in item.result.classes:
        made.add_row(
            *cells(row.class_name, row.images, row.objects, *(fraction(row.metrics.get(key)) for key in keys.values()))
        )
    return made


def evaluation_headline(item: evaluation_pb2.Evaluation) -> str:
    """Run, part and split of an evaluation, with counts."""
    part = part_name(item.part)
    forced = (
        f"; forced: {counted(item.contaminated_images, 'image')} of them were trained on"
        if item.contaminated_images
        else ""
    )
    sizes = f"{counted(item.result.images, 'image')}, {counted(item.result.objects, 'object')}"
    return f"{evaluation_reference(item)}: {item.run_reference} on the part {part} of {item.split_reference} ({sizes}{forced})"


def confusion_matrix(matrix: evaluation_pb2.ConfusionMatrix, *, numbered: bool = False) -> Table:
    """Counts. Rows are predicted, columns true; the last row counts missed objects, the last column false detections.

    `numbered`: columns are headed by row numbers, which is narrower.
    """
    names = [plain(name) for name in (*matrix.class_names, "background")]
    columns = [str(number) for number in range(1, len(names) + 1)] if numbered else names
    made = table("PREDICTED \\ TRUE", *columns, right=columns)
    for column, name, row in zip(columns, names, _confusion_rows(matrix), strict=True):
        made.add_row(*cells(f"{column} {name}" if numbered else name, *(f"{count:.0f}" for count in row)))
    return made


def _confusion_rows(matrix: evaluation_pb2.ConfusionMatrix) -> list[Sequence[float]]:
    """A list for each row. Empty when there is no matrix."""
    side = len(matrix.class_names) + 1
    return [matrix.counts[start : start + side] for start in range(0, len(matrix.counts), side)]


def schema(items: Sequence[run_service_pb2.ArgumentDescriptor]) -> Table:
    made = table("ARGUMENT", "TYPE", "DEFAULT", "RANGE", "HELP")
    made.columns[-1].no_wrap = False
    group = None
    for item in items:
        if item.group != group:
            group = item.group
            made.add_row(Text(word(run_service_pb2.ArgumentGroup, group), style="bold cyan"))
        kind = word(run_service_pb2.ArgumentType, item.type)
        made.add_row(*cells(item.name, kind, _default(item), _range(item), item.help))
    return made


def _default(item: run_service_pb2.ArgumentDescriptor) -> str:
    value = from_value(item.default_value)
    return "" if value is None else str(value)


def _range(item: run_service_pb2.ArgumentDescriptor) -> str:
    if item.choices:
        return "|".join(item.choices)
    low = f"{item.minimum:.10g}" if item.HasField("minimum") else ""
    high = f"{item.maximum:.10g}" if item.HasField("maximum") else ""
    bounds = f"{low}..{high}" if low or high else ""
    return f"{bounds} multiple of {item.multiple_of}".strip() if item.multiple_of else bounds
