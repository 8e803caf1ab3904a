"""Following a job to its end, for `train`, `run watch` and `eval run`. Ctrl-C stops watching; the job continues."""

import json
from contextlib import aclosing

import click
from splitrail.events.v1 import event_pb2
from splitrail.trainer.v1 import evaluation_pb2, run_pb2

from ..client import AsyncClient
from ..errors import JobFailedError
from ..evaluations import ending
from . import tables
from .documents import document
from .live import Display
from .metrics import metric_names
from .options import Session
from .view import View, result_line


async def follow(
    session: Session,
    client: AsyncClient,
    job: run_pb2.Run | evaluation_pb2.Evaluation,
    view: View,
    *,
    lines: bool = False,
) -> None:
    """Shows a feed until it ends. `lines`: each message also as a line of JSON on stdout, as the gateway's NDJSON has
    it.
    """
    view.names = await metric_names(client)
    display = Display(view, session.err)
    with display.showing():
        messages = client.watch_messages(job, on_interruption=display.interrupted, on_restart=display.restarted)
        async with aclosing(messages):
            async for message in messages:
                display.message(message)
                if lines:
                    click.echo(json.dumps(document(message)))


def follow_run(session: Session, run: run_pb2.Run, *, lines: bool = False) -> None:
    """Follows a run and prints how it ended, or its state after Ctrl-C. `lines`: prints its messages as JSON instead.

    Raises JobFailedError when the run failed or was cancelled.
    """
    view = View(run.reference, epochs=run.epochs)

    async def work(client: AsyncClient) -> run_pb2.Run:
        await follow(session, client, run, view, lines=lines)
        return await client.run(run)

    try:
        ended = session.run(work)
    except KeyboardInterrupt:
        detached(session, run.reference, f"splitrail run watch {run.reference}")
        ended = None
    if session.json and not lines:
        session.document(document(ended or run))
    if ended is None:
        return
    if ended.job.state != event_pb2.JOB_STATE_SUCCEEDED:
        raise JobFailedError(f"{run.reference} {ending(ended.job)}")
    if not session.json:
        session.answer(result_line(view, tables.elapsed(ended.job)))
        session.say(
            f"plots: splitrail run plots {run.reference}    evaluate: splitrail eval run {run.reference} --split test"
        )


def detached(session: Session, reference: str, again: str) -> None:
    """Says that the job continues after Ctrl-C."""
    session.say(f"detached: {reference} continues. Watch it again: {again}")
