"""`splitrail dataset`."""

from pathlib import Path

import click
from splitrail.split.v1 import dataset_pb2, import_pb2

from ..client import AsyncClient
from ..errors import ImportFailedError
from ..export import ExportResult
from ..references import parse_assignments
from ..source import Source
from ..text import counted, human_size, plain
from ..transfer import ImportProgress, ImportResult
from ..vocabulary import EXPORT_FORMATS, PARTS, TASKS, word
from . import documents, tables
from .options import Session, with_flags, with_session
from .phases import shown_phases

_SHOWN_PROBLEMS = 20
_IMPORT_FLAGS = {"dataset_name": "--name", "task": "--task"}
_CREATE_FLAGS = {"name": "NAME", "task": "--task", "labels": "--label", "external_id": "--external-id"}
_UPDATE_FLAGS = {"labels": "--label", "external_id": "--external-id"}
_EXPORT_FLAGS = {"format": "--format", "parts": "--split"}


@click.group()
def dataset() -> None:
    """Import, export, list, change and delete datasets."""


@dataset.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", help="The dataset's name. Default: the folder's, or the archive's.")
@click.option(
    "--task", type=click.Choice(list(TASKS)), default="detect", show_default=True, help="What the annotations are."
)
@click.option("--strict", is_flag=True, help="Refuse the whole source if it has any problem.")
@click.option(
    "--dry-run", is_flag=True, help="Check and report only. The files are sent, because the service checks them."
)
@with_flags(_IMPORT_FLAGS)
def import_(session: Session, path: Path, *, name: str | None, task: str, strict: bool, dry_run: bool) -> None:
    """Import the folder PATH, a .zip, .tar or .tar.gz of one, or a .csv that lists images in a bucket, as a new
    version.

    Annotations may be in the formats YOLO, Pascal VOC, COCO, CVAT or Label Studio.

    Files that the platform already has are not sent, so running an interrupted import again resumes it (a .csv is read
    anew).
    """

    async def work(
        client: AsyncClient,
    ) -> tuple[import_pb2.Import, list[import_pb2.Problem], ImportResult | None, ImportFailedError | None]:
        with shown_phases(session) as phases:

            def report(progress: ImportProgress) -> None:
                if progress.source is not None:
                    session.say(_found(progress.source))
                else:
                    phases.show(progress.phase, progress.done, progress.total)

            result, failure = None, None
            try:
                result = await client.import_dataset(
                    path, name, task=task, strict=strict, dry_run=dry_run, progress=report
                )
                done = result.report
            except ImportFailedError as error:
                failure, done = error, error.report
        problems = list(done.problems)
        if session.json and done.problem_count + done.note_count > len(problems):
            problems = await client.problems(done.import_id)
        return done, problems, result, failure

    done, problems, result, failure = session.run_resumable(work)
    for problem in problems[:_SHOWN_PROBLEMS]:
        session.say(tables.problem_line(problem), style="dim" if problem.note else "yellow")
    if (more := done.problem_count + done.note_count - _SHOWN_PROBLEMS) > 0:
        session.say(f"... and {more} more: all of them with -o json")
    if session.json:
        session.document(documents.import_report(done, problems, result))
    if done.format:
        session.say(f"format of the annotations: {word(import_pb2.SourceFormat, done.format)}")
    if result is None:
        assert failure is not None
        raise failure
    # A new import of a source that equals the newest version has a note of the service that says so.
    if result.ended_before and not dry_run:
        session.say(f"this source was imported before, as {result.reference}: no new version was created")
    if result.version.unlabelled_count:
        session.say(
            f"{counted(result.version.unlabelled_count, 'image')} unlabelled, so in no split: add an empty label file to an image that has no objects"
        )
    if not session.json:
        session.answer(_summary(result, dry_run=dry_run))


def _summary(result: ImportResult, *, dry_run: bool) -> str:
    """`cells@v1 364 images, 2 unlabelled, 3 classes, 2 problems`."""
    report, version = result.report, result.version
    problems = counted(report.problem_count, "problem")
    left_out = f" ({counted(report.excluded_count, 'image')} left out)" if report.excluded_count else ""
    if dry_run:
        return f"dry run: {counted(report.image_count - report.excluded_count, 'image')}, {problems}{left_out}; nothing was committed"
    images, classes = counted(version.image_count, "image"), counted(len(version.class_names), "class", "classes")
    unlabelled = f", {version.unlabelled_count} unlabelled" if version.unlabelled_count else ""
    return f"{result.reference} {images}{unlabelled}, {classes}, {problems}{left_out}"


def _found(source: Source) -> str:
    annotations = len(source.files) - source.image_count
    size = human_size(source.size_bytes)
    if not source.image_count:  # an archive or list, which the service reads
        return plain(f"{source.root / source.files[0].path}: {source.kind}, {size}")
    found = f"{source.root}: {counted(source.image_count, 'image')}, {counted(annotations, 'annotation file')}, {size}"
    return plain(found + left_out(source))


def left_out(source: Source) -> str:
    """`; not sent: 2 .cache, 1 .pt`, or empty."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in source.left_out.most_common(5))
    return f"; not sent: {kinds}" if kinds else ""


@dataset.command("export")
@click.argument("reference", metavar="REF")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(EXPORT_FORMATS)),
    default="yolo",
    show_default=True,
    help="Layout of the folder.",
)
@click.option(
    "--split", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Only this part. Repeatable. Default: all."
)
@click.option(
    "--include-unlabelled", is_flag=True, help="Also images in no part of the split, such as unlabelled ones."
)
@with_flags(_EXPORT_FLAGS)
def export(
    session: Session, reference: str, folder: Path, *, format_: str, parts: tuple[str, ...], include_unlabelled: bool
) -> None:
    """Write the version REF (cells@v1, or cells@v1#2 for that split) into the new folder FOLDER.

    `yolo train data=FOLDER/data.yaml` works with it, and importing it gives the same digests. Existing files are not
    downloaded again, so running an interrupted export again resumes it.
    """

    async def work(client: AsyncClient) -> ExportResult:
        with shown_phases(session) as phases:
            return await client.export(
                reference,
                folder,
                format=format_,
                parts=parts,
                include_unlabelled=include_unlabelled,
                progress=lambda progress: phases.show("exporting", progress.done, progress.total),
            )

    result = session.run_resumable(work)
    if result.left_out:
        session.say(
            f"{counted(result.left_out, 'image')} in no part of the split left out: --include-unlabelled includes them"
        )
    if session.json:
        session.document(documents.export_report(result))
    else:
        written = f"{counted(result.written_files, 'file')} written ({human_size(result.written_bytes)})"
        session.answer(f"{result.reference} in {result.folder}: {counted(result.end.image_count, 'image')}, {written}")


@dataset.command("create")
@click.argument("name")
@click.option(
    "--task", type=click.Choice(list(TASKS)), default="detect", show_default=True, help="What its annotations will be."
)
@click.option("--external-id", default="", help="Your own identifier of it.")
@click.option(
    "--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label for your own bookkeeping. Repeatable."
)
@with_flags(_CREATE_FLAGS)
def create(session: Session, name: str, *, task: str, external_id: str, labels: tuple[str, ...]) -> None:
    """Create the empty dataset NAME; `splitrail version new NAME` then starts its first version.

    An import creates its dataset itself.
    """
    own = parse_assignments(labels)
    made = session.run(lambda client: client.create_dataset(name, task, external_id=external_id, labels=own))
    if session.json:
        session.document(documents.document(made))
    else:
        session.answer(f"{made.name} created")
        session.say(f"start its first version: splitrail version new {made.name}")


@dataset.command("ls")
@with_session
def list_datasets(session: Session) -> None:
    """Datasets of the project, newest first."""
    items = session.run(lambda client: client.datasets())
    session.answer_list(items, documents.document, tables.datasets, "no datasets yet: splitrail dataset import PATH")


@dataset.command("update")
@click.argument("name")
@click.option("--external-id", help="Your own identifier of it; an empty one removes it.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Add or change a label. Repeatable.")
@click.option("--remove-label", "removed", multiple=True, metavar="NAME", help="Remove a label. Repeatable.")
@with_flags(_UPDATE_FLAGS)
def update(
    session: Session, name: str, *, external_id: str | None, labels: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    """Change labels and external id of the dataset NAME. Refused when somebody else changes it at the same time."""
    if external_id is None and not labels and not removed:
        raise click.UsageError("nothing to change: give --external-id, --label or --remove-label")
    changed = parse_assignments(labels)

    async def work(client: AsyncClient) -> dataset_pb2.Dataset:
        found = await client.dataset(name)
        kept = {key: value for key, value in found.labels.items() if key not in removed}
        return await client.update_dataset(
            found, external_id=external_id, labels={**kept, **changed} if labels or removed else None
        )

    item = session.run(work)
    if session.json:
        session.document(documents.document(item))
    else:
        session.answer(f"{item.name} updated")


@dataset.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_session
def delete_dataset(session: Session, name: str, yes: bool) -> None:
    """Delete the dataset NAME with its versions, drafts and splits. Refused while a job uses one of them."""
    session.delete(
        name, f"the dataset {name} with all of its versions", lambda client: client.delete_dataset(name), yes=yes
    )
