"""`splitrail project`."""

import click
from splitrail.split.v1 import project_pb2

from ..references import parse_assignments
from . import tables
from .documents import document
from .options import Session, with_flags, with_session

_CREATE_FLAGS = {"project_id": "PROJECT", "external_id": "--external-id", "labels": "--label"}


@click.group()
def project() -> None:
    """Create, list and archive projects. Other commands work in the project that --project names."""


@project.command("create")
@click.argument("project_id", metavar="PROJECT")
@click.option("--external-id", default="", help="Your own identifier of it.")
@click.option(
    "--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label for your own bookkeeping. Repeatable."
)
@with_flags(_CREATE_FLAGS)
def create(session: Session, project_id: str, *, external_id: str, labels: tuple[str, ...]) -> None:
    """Create the project PROJECT: lower-case letters, digits and inner hyphens."""
    own = parse_assignments(labels)
    _answer(
        session,
        session.run(lambda client: client.create_project(project_id, external_id=external_id, labels=own)),
        "created",
    )


@project.command("ls")
@click.option("--archived", is_flag=True, help="Also archived projects.")
@with_session
def list_projects(session: Session, archived: bool) -> None:
    """Projects that you can see."""
    items = session.run(lambda client: client.projects(include_archived=archived))
    session.answer_list(items, document, tables.projects, "no projects that this token can see")


@project.command("get")
@click.argument("project_id", metavar="PROJECT")
@with_session
def get(session: Session, project_id: str) -> None:
    """Show a project."""
    item = session.run(lambda client: client.get_project(project_id))
    if session.json:
        session.document(document(item))
        return
    session.out.print(tables.projects([item]))
    if item.labels:
        session.answer("labels: " + " ".join(f"{name}={value}" for name, value in sorted(item.labels.items())))


@project.command("archive")
@click.argument("project_id", metavar="PROJECT")
@with_session
def archive(session: Session, project_id: str) -> None:
    """Archive a project: it can be read, but no longer changed. Its queued and running jobs continue."""
    _answer(session, session.run(lambda client: client.archive_project(project_id)), "archived")


@project.command("unarchive")
@click.argument("project_id", metavar="PROJECT")
@with_session
def unarchive(session: Session, project_id: str) -> None:
    """Make an archived project active again."""
    _answer(session, session.run(lambda client: client.unarchive_project(project_id)), "active")


def _answer(session: Session, item: project_pb2.Project, what: str) -> None:
    if session.json:
        session.document(document(item))
    else:
        session.answer(f"{item.project_id} {what}")
