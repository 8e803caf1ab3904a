"""`splitrail run`."""

import click
from splitrail.events.v1 import event_pb2
from splitrail.metrics.v1 import metrics_pb2, metrics_service_pb2
from splitrail.trainer.v1 import run_pb2

from ..client import AsyncClient
from ..references import from_value, parse_evaluation_reference
from ..text import human_seconds, human_size
from ..vocabulary import JOB_STATES
from . import tables
from .documents import document
from .following import follow_run
from .metrics import MetricNames, metric_names, named
from .options import Session, with_session
from .words import artifact_name, evaluation_reference, level_name, state_name


@click.group()
def run() -> None:
    """List, show, watch and cancel runs. RUN is cells/17 or a run_id."""


@run.command("ls")
@click.option("--state", type=click.Choice(list(JOB_STATES)), help="Only runs in this state.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@with_session
def list_runs(session: Session, state: str | None, limit: int) -> None:
    """Runs of the project, newest first."""

    async def work(client: AsyncClient) -> tuple[list[run_pb2.Run], dict[str, metrics_pb2.RunSummary], MetricNames]:
        wanted = JOB_STATES[state] if state else event_pb2.JOB_STATE_UNSPECIFIED
        runs = await client.runs(state=wanted, limit=limit)
        return runs, dict(await client.summaries(runs)), await metric_names(client)

    runs, summaries, names = session.run(work)
    if session.json:
        session.document(
            [document(item, summary=document(summaries.get(item.run_id, metrics_pb2.RunSummary()))) for item in runs]
        )
    elif runs:
        session.out.print(tables.runs(runs, summaries, names))
    else:
        session.say("no runs yet: splitrail train data=cells@v1 model=yolov8n epochs=20")


@run.command("get")
@click.argument("reference", metavar="RUN")
@with_session
def get_run(session: Session, reference: str) -> None:
    """Show one run: state, data, model, arguments and metrics."""

    async def work(client: AsyncClient) -> tuple[run_pb2.Run, metrics_service_pb2.GetRunMetricsResponse, MetricNames]:
        item = await client.run(reference)
        return item, await client.metrics(item), await metric_names(client)

    item, metrics, names = session.run(work)
    if session.json:
        session.document(document(item, metrics=document(metrics)))
        return
    seconds = tables.elapsed(item.job)
    lines = {
        "state": state_name(item.job) + (f" ({item.job.message})" if item.job.message else ""),
        "data": f"{item.split_reference} (digest {item.split_digest})",
        "model": item.model,
        "epochs": f"{len(metrics.epochs)} of {item.epochs}"
        + (f" in {human_seconds(seconds)}" if seconds is not None else ""),
        "attempt": f"{item.job.attempt} on {item.job.worker}" if item.job.attempt else "none yet",
        "created": tables.local_time(item.job.create_time),
        "arguments": " ".join(f"{name}={from_value(value)}" for name, value in sorted(item.arguments.items())),
        "versions": " ".join(f"{name} {version}" for name, version in sorted(item.versions.items())),
        "labels": " ".join(f"{name}={value}" for name, value in sorted(item.labels.items())),
        "external id": item.external_id,
    }
    if metrics.HasField("final_metrics"):
        best = metrics.final_metrics.metrics
        lines["best checkpoint"] = named(best, names.headlines(best), "val")
    session.answer(item.reference)
    for name, value in lines.items():
        if value:
            session.answer(f"  {name:<16}{value}")


@run.command("watch")
@click.argument("reference", metavar="RUN")
@with_session
def watch(session: Session, reference: str) -> None:
    """Follow a run from its first event to its end. `-o json` prints each message on a line (NDJSON). Ctrl-C stops
    watching, not the run.
    """
    item = session.run(lambda client: client.run(reference))
    follow_run(session, item, lines=session.json)


@run.command("cancel")
@click.argument("reference", metavar="RUN")
@with_session
def cancel(session: Session, reference: str) -> None:
    """Cancel a run: a queued one at once, a running one after the current batch."""
    item = session.run(lambda client: client.cancel(reference))
    if session.json:
        session.document(document(item))
    elif item.job.state == event_pb2.JOB_STATE_CANCELLED:
        session.answer(f"{item.reference} cancelled")
    else:
        session.answer(f"{item.reference} will end after the current batch")


@run.command("logs")
@click.argument("reference", metavar="RUN")
@with_session
def logs(session: Session, reference: str) -> None:
    """Lines of the training process's log. RUN may be an evaluation: cells/17/eval/2."""

    async def work(client: AsyncClient) -> list[metrics_pb2.FeedEvent]:
        return await client.logs(
            await client.evaluation(reference) if parse_evaluation_reference(reference) else reference
        )

    found = session.run(work)
    if session.json:
        session.document([document(line) for line in found])
        return
    for line in found:
        level = level_name(line.log.level)
        session.answer(line.log.text if level == "info" else f"{level}: {line.log.text}")


@run.command("plots")
@click.argument("reference", metavar="RUN")
@with_session
def plots(session: Session, reference: str) -> None:
    """Plots of a run and of its evaluations, with URLs that work without a token and expire. RUN may be one evaluation:
    cells/17/eval/2.
    """

    async def work(client: AsyncClient) -> list[tuple[str, metrics_pb2.Plot]]:
        if parse_evaluation_reference(reference):
            evaluation = await client.evaluation(reference)
            return [(evaluation_reference(evaluation), plot) for plot in await client.plots(evaluation)]
        item = await client.run(reference)
        found = [(item.reference, plot) for plot in await client.plots(item) if plot.run_id in ("", item.run_id)]
        for evaluation in reversed(await client.evaluations(item)):
            found += [(evaluation_reference(evaluation), plot) for plot in await client.plots(evaluation)]
        return found

    found = session.run(work)
    if session.json:
        session.document([document(plot, owner=owner) for owner, plot in found])
        return
    if not found:
        session.say(f"{reference} has no plots yet")
    shown = ""
    for owner, plot in found:
        if owner != shown:
            shown = owner
            session.answer(owner)
        session.answer(f"  {plot.name}  {plot.title}  {human_size(plot.size_bytes)}")
        session.answer(f"    {plot.url}")


@run.command("artifacts")
@click.argument("reference", metavar="RUN")
@with_session
def artifacts(session: Session, reference: str) -> None:
    """Weights, checkpoints and results.csv of a run, with URLs that work without a token and expire."""
    found = session.run(lambda client: client.artifacts(reference))
    if session.json:
        session.document([document(item) for item in found])
        return
    if not found:
        session.say(f"{reference} has no artifacts yet")
    for item in found:
        session.answer(f"{item.name}  {artifact_name(item.kind)}  {human_size(item.size_bytes)}")
        session.answer(f"  {item.url}")
