"""`splitrail dataset` and `splitrail split`."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from splitrail.split.v1 import import_pb2, split_pb2

from ..client import AsyncClient
from ..errors import ImportFailedError
from ..references import parse_ratios
from ..source import Source
from ..text import counted, human_size, plain
from ..transfer import ImportProgress, ImportResult
from . import documents, tables
from .options import CommandError, Session, with_session

_SHOWN_PROBLEMS = 20


@click.group()
def dataset() -> None:
    """Register images and annotations as dataset versions."""


@dataset.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", help="The dataset's name. Default: the folder's.")
@click.option("--strict", is_flag=True, help="Refuse the whole source when anything is wrong with it.")
@click.option("--dry-run", is_flag=True, help="Check and report; commit nothing.")
@with_session
def import_(session: Session, path: Path, name: str | None, strict: bool, dry_run: bool) -> None:
    """Send the folder PATH (YOLO, VOC or COCO) and make a new version of it.

    What the platform already has is not sent again, so an interrupted import is resumed by running it again.
    """

    async def work(client: AsyncClient) -> tuple[import_pb2.Import, list[import_pb2.Problem], ImportResult | None, ImportFailedError | None]:
        with _progress(session) as report:
            result, failure = None, None
            try:
                result = await client.import_dataset(path, name, strict=strict, dry_run=dry_run, progress=report.take)
                done = result.report
            except ImportFailedError as error:
                failure, done = error, error.report
        problems = list(done.problems)
        if session.json and done.problem_count + done.note_count > len(problems):
            problems = await client.problems(done.import_id)
        return done, problems, result, failure

    try:
        done, problems, result, failure = session.run(work)
    except KeyboardInterrupt:
        session.say("interrupted: run the same command again to go on where it stopped")
        raise click.exceptions.Exit(130) from None
    for problem in problems[:_SHOWN_PROBLEMS]:
        session.say(tables.problem_line(problem), style="dim" if problem.note else "yellow")
    if (more := done.problem_count + done.note_count - _SHOWN_PROBLEMS) > 0:
        session.say(f"... and {more} more: all of them with -o json")
    if session.json:
        session.document(documents.import_report(done, problems, result))
    if result is None:
        assert failure is not None
        raise CommandError(failure)
    if not session.json:
        session.answer(_summary(result, dry_run=dry_run))


def _summary(result: ImportResult, *, dry_run: bool) -> str:
    """`cells@v1 364 images, 3 classes, 2 problems`."""
    report, version = result.report, result.version
    problems = counted(report.problem_count, "problem")
    left_out = f" ({counted(report.excluded_count, 'image')} left out)" if report.excluded_count else ""
    if dry_run:
        return f"dry run: {counted(report.image_count, 'image')}, {problems}{left_out}; nothing was committed"
    images, classes = counted(version.image_count, "image"), counted(len(version.class_names), "class", "classes")
    return f"{result.reference} {images}, {classes}, {problems}{left_out}"


class _Phases:
    """Shows an import's phases: bars on a terminal, a line at the start of each elsewhere."""

    def __init__(self, session: Session, bars: Progress | None) -> None:
        self._session = session
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._said: Counter[str] = Counter()

    def take(self, progress: ImportProgress) -> None:
        if progress.source is not None:
            self._session.say(_found(progress.source))
            return
        if self._bars is None:
            self._said[progress.phase] += 1
            if self._said[progress.phase] == 1:
                self._session.say(f"{progress.phase} ...")
            return
        if progress.phase not in self._tasks:
            for task in self._tasks.values():
                self._bars.update(task, visible=False)
            self._tasks[progress.phase] = self._bars.add_task(progress.phase, total=None)
        self._bars.update(self._tasks[progress.phase], completed=progress.done, total=progress.total or None)


@contextmanager
def _progress(session: Session) -> Iterator[_Phases]:
    if not session.err.is_terminal:
        yield _Phases(session, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=session.err, transient=True) as bars:
        yield _Phases(session, bars)


def _found(source: Source) -> str:
    annotations = len(source.files) - source.image_count
    size = human_size(source.size_bytes)
    found = f"{source.root}: {source.format}, {counted(source.image_count, 'image')}, {counted(annotations, 'annotation file')}, {size}"
    left_out = ", ".join(f"{count} {kind}" for kind, count in source.left_out.most_common(5))
    return plain(found + (f"; not sent: {left_out}" if left_out else ""))


@dataset.command("ls")
@with_session
def list_datasets(session: Session) -> None:
    """Datasets of the project, newest first."""
    items = session.run(lambda client: client.datasets())
    if session.json:
        session.document([documents.dataset(item) for item in items])
    elif items:
        session.out.print(tables.datasets(items))
    else:
        session.say("no datasets yet: splitrail dataset import PATH")


@click.group()
def split() -> None:
    """Split a version into train, val and test."""


@split.command("create")
@click.argument("reference", metavar="REF")
@click.option("--ratios", default="0.7,0.15,0.15", show_default=True, metavar="TRAIN,VAL,TEST", help="Fractions; they add up to 1.")
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True, help="The same seed gives the same split anywhere.")
@click.option("--stratify/--no-stratify", default=True, show_default=True, help="Balance all classes of every image.")
@with_session
def create_split(session: Session, reference: str, ratios: str, seed: int, stratify: bool) -> None:
    """Split the version REF (cells@v1) and make that its current split."""
    _show_split(session, session.run(lambda client: client.split(reference, parse_ratios(ratios), seed=seed, stratify=stratify)))


@split.command("get")
@click.argument("reference", metavar="REF")
@with_session
def get_split(session: Session, reference: str) -> None:
    """Show a split: cells@v1 (the current one) or cells@v1#2."""
    _show_split(session, session.run(lambda client: client.get_split(reference)))


def _show_split(session: Session, item: split_pb2.SplitRevision) -> None:
    if session.json:
        session.document(documents.split(item))
        return
    ratios, certificate = item.parameters.ratios, item.certificate
    kind = "stratified" if item.parameters.stratify else "random"
    session.answer(f"{item.reference} {kind}, {ratios.train:g}/{ratios.val:g}/{ratios.test:g}, seed {item.parameters.seed}")
    session.out.print(tables.split_counts(item))
    if certificate.worst_class:
        session.answer(
            f"largest deviation {certificate.max_deviation:.2%} ({certificate.worst_class}); at random {certificate.random_max_deviation:.2%}"
        )
    for finding in certificate.findings:
        session.answer(f"note: {finding}")
    session.answer(f"digest {item.digest}")
