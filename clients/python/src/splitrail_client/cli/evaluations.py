"""`splitrail eval`."""

import sys

import click
from splitrail.events.v1 import run_event_pb2
from splitrail.trainer.v1 import run_pb2

from ..client import AsyncClient, ending
from ..errors import JobFailedError
from ..references import split_name
from ..text import counted
from . import documents, tables
from .following import detached, follow
from .options import Session, with_flags, with_session
from .view import View
from .words import evaluation_reference, state_name

_MATRIX_CLASSES = 20  # a larger confusion matrix is unreadable in a terminal
_FLAGS = {
    "split": "--split",
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
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True, help="Part of the split to evaluate on.")
@click.option("--on", metavar="REF", help="Evaluate on another split, cells@v3#2. Default: the run's own.")
@click.option("--force", is_flag=True, help="Evaluate even if the run was trained on some of these images; the result says so.")
@click.option("--conf", type=float, help="Minimum confidence of a prediction.")
@click.option("--iou", type=float, help="IoU threshold of non-maximum suppression.")
@click.option("--imgsz", type=int, help="Image size in pixels. Default: the run's.")
@click.option("--batch", type=int, help="Batch size.")
@click.option("--max-det", "max_det", type=int, help="Maximum number of predictions per image.")
@click.option("--detach", is_flag=True, help="Queue the evaluation and return at once.")
@with_flags(_FLAGS)
def run(session: Session, reference: str, *, split: str, on: str | None, force: bool, detach: bool, **arguments: float | None) -> None:
    """Evaluate RUN (cells/17) and print the result, overall and per class."""
    given = {name: value for name, value in arguments.items() if value is not None}
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
    _show(session, session.run(lambda client: client.evaluation(reference)))


@evaluate.command("ls")
@click.argument("reference", metavar="[RUN]", required=False)
@with_session
def list_evaluations(session: Session, reference: str | None) -> None:
    """Evaluations of RUN, or of the project, newest first."""
    items = session.run(lambda client: client.evaluations(reference))
    session.answer_list(items, documents.evaluation, tables.evaluations, "no evaluations yet: splitrail eval run cells/1 --split test")


def _follow(session: Session, item: run_pb2.Evaluation) -> None:
    name = evaluation_reference(item)

    async def work(client: AsyncClient) -> run_pb2.Evaluation:
        await follow(session, client, item.evaluation_id, View(f"{name} ({split_name(item.split)} split)"))
        return await client.evaluation(item)

    try:
        ended = session.run(work)
    except KeyboardInterrupt:
        detached(session, name, f"splitrail eval watch {name}")
        return
    _show(session, ended)


def _show(session: Session, item: run_pb2.Evaluation) -> None:
    """Prints an evaluation; raises JobFailedError when it failed or was cancelled."""
    name = evaluation_reference(item)
    if session.json:
        session.document(documents.evaluation(item))
    if item.job.state in (run_event_pb2.JOB_STATE_FAILED, run_event_pb2.JOB_STATE_CANCELLED):
        raise JobFailedError(f"{name} {ending(item.job)}")
    if session.json:
        return
    if item.job.state != run_event_pb2.JOB_STATE_SUCCEEDED:
        session.answer(f"{name} {state_name(item.job)}")
        return
    session.answer(tables.evaluation_headline(item))
    session.out.print(tables.evaluation_result(item))
    _show_matrix(session, item)
    session.say(f"plots: splitrail run plots {name}")
    session.answer(f"{split_name(item.split)} mAP50 = {tables.fraction(item.result.overall.get('mAP50'))}")


def _show_matrix(session: Session, item: run_pb2.Evaluation) -> None:
    """Prints the confusion matrix, or where to find it when it has many classes or is wider than the terminal."""
    matrix = item.result.confusion_matrix
    if not matrix.counts:  # it was too large for the message; the plot has it
        return
    if len(matrix.class_names) <= _MATRIX_CLASSES:
        unbounded = session.out.options.update(width=sys.maxsize)
        for made in (tables.confusion_matrix(matrix), tables.confusion_matrix(matrix, numbered=True)):
            if session.out.measure(made, options=unbounded).maximum <= session.out.width:
                session.answer(f"confusion matrix, confidence from {matrix.confidence:g}: rows are predicted, columns true")
                session.out.print(made)
                return
    name = evaluation_reference(item)
    session.say(f"confusion matrix of {counted(len(matrix.class_names), 'class', 'classes')}: splitrail eval get {name} -o json")
