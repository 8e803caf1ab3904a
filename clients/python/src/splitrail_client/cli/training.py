"""`splitrail train` and `splitrail schema`."""

import click

from ..references import parse_assignments, parse_value
from . import tables
from .documents import document
from .following import follow_run
from .options import Session, with_flags, with_session

_FLAGS = {"queue": "--queue", "labels": "--label", "external_id": "--external-id"}


@click.command()
@click.argument("assignments", nargs=-1, required=True, metavar="data=REF model=NAME [ARGUMENT=VALUE]...")
@click.option("--detach", is_flag=True, help="Queue the run and return at once.")
@click.option("--queue", default="", help="The queue to put the run in.")
@click.option(
    "--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label for your own bookkeeping. Repeatable."
)
@click.option("--external-id", default="", help="Your own identifier of this run.")
@with_flags(_FLAGS)
def train(
    session: Session,
    assignments: tuple[str, ...],
    *,
    detach: bool,
    queue: str,
    labels: tuple[str, ...],
    external_id: str,
) -> None:
    """Train MODEL on the split REF and follow the run. Arguments are those of Ultralytics; `splitrail schema` lists
    them.

    \b
    splitrail train data=cells@v1 model=yolov8n epochs=20 imgsz=640

    Ctrl-C stops watching; the run continues.
    """
    given, own = parse_assignments(assignments), parse_assignments(labels)
    missing = [name for name in ("data", "model") if not given.get(name)]
    if missing:
        raise click.UsageError(
            f"{' and '.join(f'{name}=...' for name in missing)} is missing, as in: splitrail train data=cells@v1 model=yolov8n epochs=20"
        )
    data, model = given.pop("data"), given.pop("model")
    arguments = {name: parse_value(value) for name, value in given.items()}
    made = session.run(
        lambda client: client.create_run(
            data=data, model=model, arguments=arguments, queue=queue, external_id=external_id, labels=own
        )
    )
    run = made.run
    for warning in made.warnings:
        session.say(f"warning: {warning}", style="yellow")
    if detach:
        if session.json:
            session.document(document(run))
        else:
            session.answer(f"{run.reference} queued")
            session.say(f"watch it: splitrail run watch {run.reference}")
        return
    session.say(f"{run.reference}: {run.model} on {run.split_reference}, {run.epochs} epochs")
    follow_run(session, run)


@click.command()
@with_session
def schema(session: Session) -> None:
    """List the training arguments with type, default, range and help, and the models."""
    found = session.run(lambda client: client.schema())
    if session.json:
        session.document(document(found))
        return
    session.out.print(tables.schema(found.arguments))
    session.answer("")
    session.answer(f"models: {', '.join(found.models)} (Ultralytics {found.ultralytics_version})")
