"""`splitrail eval`."""

import itertools
import sys
from typing import Any

import click
from splitrail.events.v1 import event_pb2
from splitrail.trainer.v1 import evaluation_pb2

from ..client import AsyncClient
from ..errors import JobFailedError
from ..evaluations import ending
from ..references import part_name
from ..text import counted
from ..vocabulary import PARTS
from . import documents, tables
from .following import detached, follow
from .metrics import MetricNames, fraction, metric_names
from .options import Session, with_flags, with_session
from .view import View
from .words import evaluation_reference, state_name

_MATRIX_CLASSES = 20  # a larger confusion matrix is unreadable in a terminal
_FLAGS = {
    "part": "--split",
    "split_id": "--on",
    "arguments.conf": "--conf",
    "arguments.iou": "--iou",
    "arguments.imgsz": "--imgsz",
    "arguments.batch": "--batch",
    "arguments.max_det": "--max-det",
}


@click.group("eval")
def evaluate() -> None:
    """Evaluate a run's best weights on held-out images. EVALUATION is cells/17/eval/2 or an evaluation_id."""


@evaluate.command("run")
@click.argument("reference", metavar="RUN")
@click.option(
    "--split",
    type=click.Choice(list(PARTS)),
    default="test",
    show_default=True,
    help="Part of the split to evaluate on.",
)
@click.option("--on", metavar="REF", help="Evaluate on another split, cells@v3#2. Default: the run's own.")
@click.option(
    "--force", is_flag=True, help="Evaluate even if the run was trained on some of these images; the result says so."
)
@click.option("--conf", type=float, help="Minimum confidence of a prediction.")
@click.option("--iou", type=float, help="IoU threshold of non-maximum suppression.")
@click.option("--imgsz", type=int, help="Image size in pixels. Default: the run's.")
@click.option("--batch", type=int, help="Batch size.")
@click.option("--max-det", "max_det", type=int, help="Maximum number of predictions per image.")
@click.option("--detach", is_flag=True, help="Queue the evaluation and return at once.")
@with_flags(_FLAGS)
def run(
    session: Session,
    reference: str,
    *,
    split: str,
    on: str | None,
    force: bool,
    detach: bool,
    **arguments: float | None,
) -> None:
    """Evaluate RUN (cells/17) and print the result, overall and per class."""
    given: dict[str, Any] = {name: value for name, value in arguments.items() if value is not None}
    queued = session.run(lambda client: client.evaluate(reference, split, wait=False, force=force, on=on, **given))
    name = evaluation_reference(queued)
    if detach:
        if session.json:
            session.document(documents.evaluation(queued))
        else:
            session.answer(f"{name} queued")
            session.say(f"its result: splitrail eval get {name}")
        return
    _follow(session, queued)


@evaluate.command("watch")
@click.argument("reference", metavar="EVALUATION")
@with_session
def watch(session: Session, reference: str) -> None:
    """Follow an evaluation to its end and print the result. Ctrl-C stops watching, not the evaluation."""
    _follow(session, session.run(lambda client: client.evaluation(reference)))


@evaluate.command("get")
@click.argument("reference", metavar="EVALUATION")
@with_session
def get(session: Session, reference: str) -> None:
    """Show an evaluation: cells/17/eval/2, or its id."""

    async def work(client: AsyncClient) -> tuple[evaluation_pb2.Evaluation, MetricNames]:
        return await client.evaluation(reference), await metric_names(client)

    _show(session, *session.run(work))


@evaluate.command("cancel")
@click.argument("reference", metavar="EVALUATION")
@with_session
def cancel(session: Session, reference: str) -> None:
    """Cancel an evaluation: a queued one at once, a running one after the current batch."""
    item = session.run(lambda client: client.cancel_evaluation(reference))
    name = evaluation_reference(item)
    if session.json:
        session.document(documents.evaluation(item))
    elif item.job.state == event_pb2.JOB_STATE_CANCELLED:
        session.answer(f"{name} cancelled")
    else:
        session.answer(f"{name} will end after the current batch")


@evaluate.command("ls")
@click.argument("reference", metavar="[RUN]", required=False)
@with_session
def list_evaluations(session: Session, reference: str | None) -> None:
    """Evaluations of RUN, or of the project, newest first."""

    async def work(client: AsyncClient) -> tuple[list[evaluation_pb2.Evaluation], MetricNames]:
        return await client.evaluations(reference), await metric_names(client)

    items, names = session.run(work)
    none = "no evaluations yet: splitrail eval run cells/1 --split test"
    session.answer_list(items, documents.evaluation, lambda shown: tables.evaluations(shown, names), none)


def _follow(session: Session, item: evaluation_pb2.Evaluation) -> None:
    name = evaluation_reference(item)

    async def work(client: AsyncClient) -> tuple[evaluation_pb2.Evaluation, MetricNames]:
        await follow(session, client, item, View(f"{name} ({part_name(item.part)} split)"))
        return await client.evaluation(item), await metric_names(client)

    try:
        ended = session.run(work)
    except KeyboardInterrupt:
        detached(session, name, f"splitrail eval watch {name}")
        return
    _show(session, *ended)


def _show(session: Session, item: evaluation_pb2.Evaluation, names: MetricNames) -> None:
    """Prints an evaluation; raises JobFailedError when it failed or was cancelled."""
    name = evaluation_reference(item)
    if session.json:
        session.document(documents.evaluation(item))
    if item.job.state in (event_pb2.JOB_STATE_FAILED, event_pb2.JOB_STATE_CANCELLED):
        raise JobFailedError(f"{name} {ending(item.job)}")
    if session.json:
        return
    if item.job.state != event_pb2.JOB_STATE_SUCCEEDED:
        session.answer(f"{name} {state_name(item.job)}")
        return
    session.answer(tables.evaluation_headline(item))
    session.out.print(tables.evaluation_result(item, names))
    _show_matrix(session, item)
    session.say(f"plots: splitrail run plots {name}")
    for title, key in itertools.islice(names.headlines(item.result.overall).items(), 1):
        session.answer(f"{part_name(item.part)} {title} = {fraction(item.result.overall[key])}")


def _show_matrix(session: Session, item: evaluation_pb2.Evaluation) -> None:
    """Prints the confusion matrix, or where to find it when it has many classes or is wider than the terminal."""
    matrix = item.result.confusion_matrix
    if not matrix.counts:  # it was too large for the message; the plot has it
        return
    if len(matrix.class_names) <= _MATRIX_CLASSES:
        unbounded = session.out.options.update(width=sys.maxsize)
        for made in (tables.confusion_matrix(matrix), tables.confusion_matrix(matrix, numbered=True)):
            if session.out.measure(made, options=unbounded).maximum <= session.out.width:
                session.answer(
                    f"confusion matrix, confidence from {matrix.confidence:g}: rows are predicted, columns true"
                )
                session.out.print(made)
                return
    name = evaluation_reference(item)
    session.say(
        f"confusion matrix of {counted(len(matrix.class_names), 'class', 'classes')}: splitrail eval get {name} -o json"
    )
