"""`splitrail import`."""

import click
from splitrail.split.v1 import import_pb2

from ..vocabulary import IMPORT_STATES
from . import tables
from .documents import document
from .options import Session, with_session
from .words import import_state_name


@click.group("import")
def import_() -> None:
    """List, show and cancel imports. IMPORT is an import_id; `splitrail dataset import` starts one."""


@import_.command("ls")
@click.option("--dataset", default="", metavar="NAME", help="Only imports into this dataset.")
@click.option("--state", type=click.Choice(list(IMPORT_STATES)), help="Only imports in this state.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@with_session
def list_imports(session: Session, dataset: str, state: str | None, limit: int) -> None:
    """Imports of the project, newest first."""
    wanted = IMPORT_STATES[state] if state else import_pb2.IMPORT_STATE_UNSPECIFIED
    items = session.run(lambda client: client.imports(dataset, state=wanted, limit=limit))
    session.answer_list(items, document, tables.imports, "no imports yet: splitrail dataset import PATH")


@import_.command("get")
@click.argument("import_id", metavar="IMPORT")
@with_session
def get(session: Session, import_id: str) -> None:
    """Show an import and its problems."""
    item = session.run(lambda client: client.get_import(import_id))
    if session.json:
        session.document(document(item))
        return
    session.out.print(tables.imports([item]))
    if item.failure:
        session.answer(f"failed: {item.failure}")
    session.answer_first(item.problems, tables.problem_line)


@import_.command("cancel")
@click.argument("import_id", metavar="IMPORT")
@with_session
def cancel(session: Session, import_id: str) -> None:
    """End an import without a version: at once while it waits, within seconds while it runs."""
    item = session.run(lambda client: client.cancel_import(import_id))
    if session.json:
        session.document(document(item))
    elif item.state == import_pb2.IMPORT_STATE_CANCELLED:
        session.answer(f"{item.import_id} cancelled")
    else:
        session.answer(f"{item.import_id} {import_state_name(item)}, will be cancelled within seconds")
