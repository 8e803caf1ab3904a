"""`splitrail version`."""

from pathlib import Path

import click
from google.protobuf import json_format
from splitrail.split.v1 import dataset_pb2, version_pb2, version_service_pb2

from ..client import AsyncClient
from ..errors import UsageError
from ..references import parse_assignments, version_reference
from ..text import counted, human_size, plain
from ..transfer import ImportProgress
from ..versions import ANNOTATION_FILES, DraftChange
from . import documents, tables
from .data import left_out
from .options import Session, with_flags, with_session
from .phases import shown_phases

_COMMIT_FLAGS = {"expected_base_version_id": "--expected-base"}


@click.group()
def version() -> None:
    """Edit a dataset by hand: a draft of a version, changed image by image, becomes the next version.

    \b
    splitrail version new cells@v1
    splitrail version add cells@draft new-images/ --into images
    splitrail version commit cells@draft

    DRAFT is cells@draft, when the dataset has only one, or the draft's id. `splitrail dataset create` creates an empty
    dataset.
    """


@version.command("new")
@click.argument("reference", metavar="REF")
@with_session
def new(session: Session, reference: str) -> None:
    """Start a draft of the version REF (cells@v1; cells: the newest version, or an empty draft when there is none)."""

    async def work(client: AsyncClient) -> tuple[dataset_pb2.DatasetVersion, int]:
        made = await client.new_draft(reference)
        return made, len(await client.drafts(made)) - 1

    draft, others = session.run(work)
    if others > 0:
        session.say(f"{draft.dataset_name} has {counted(others, 'other draft')}, so name drafts by their ids:")
        session.say(f"splitrail version ls {draft.dataset_name}")
    if session.json:
        session.document(documents.version(draft))
    else:
        session.answer(_summary(draft))


@version.command("ls")
@click.argument("dataset")
@with_session
def list_versions(session: Session, dataset: str) -> None:
    """Drafts and versions of the dataset, newest first."""

    async def work(client: AsyncClient) -> tuple[list[version_pb2.Draft], list[dataset_pb2.DatasetVersion]]:
        return await client.drafts(dataset), await client.versions(dataset)

    drafts, versions = session.run(work)
    none = f"no version of {dataset} yet: splitrail dataset import PATH --name {dataset}, or by hand: splitrail version new {dataset}"
    if session.json:
        session.document([*map(documents.draft, drafts), *map(documents.version, versions)])
    elif drafts or versions:
        session.out.print(tables.versions(drafts, versions))
    else:
        session.say(none)


@version.command("add")
@click.argument("draft")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--into", default="", metavar="FOLDER", help="Folder of the draft to put the images into. Default: its root."
)
@click.option(
    "--annotations",
    "file",
    type=click.Path(path_type=Path),
    help="JSON file with annotations and other fields of images.",
)
@with_session
def add(session: Session, draft: str, *, path: Path | None, into: str, file: Path | None) -> None:
    """Add the image PATH, or the images of the folder PATH, to a draft; an existing image of the same path gets the new
    bytes.

    Images that the platform already has are not sent. Label files are not read (`dataset import` does that): give
    annotations as JSON, as UpsertAssets takes it. They replace those of the image; an empty list means that the image
    has no objects; without annotations, an existing image keeps its own and a new one is unlabelled.

    \b
    {"assets": [{"path": "images/7.jpg", "annotations": {"items": [
      {"classId": 0, "box": {"centerX": 0.5, "centerY": 0.5, "width": 0.2, "height": 0.1}}]}}]}
    """
    if path is None and file is None:
        raise click.UsageError("nothing to add: give PATH, --annotations, or both")
    assets = _assets(file) if file else []

    async def work(client: AsyncClient) -> DraftChange:
        with shown_phases(session) as phases:

            def report(progress: ImportProgress) -> None:
                if progress.source is None:
                    phases.show(progress.phase, progress.done, progress.total)
                    return
                session.say(
                    plain(f"{path}: {counted(progress.source.image_count, 'image')}{left_out(progress.source)}")
                )
                if ANNOTATION_FILES in progress.source.left_out:
                    session.say(
                        "label files are not read: give annotations with --annotations FILE, or use splitrail dataset import"
                    )

            return await client.upsert_assets(draft, assets, images=path, into=into, progress=report)

    change = session.run_resumable(work)
    if session.json:
        session.document(documents.draft_change(change))
    else:
        sent = f"{counted(change.uploaded_files, 'file')} sent ({human_size(change.uploaded_bytes)})"
        session.answer(f"{change.added} added, {change.changed} changed, {change.unchanged} unchanged; {sent}")
        session.answer(_summary(change.version))


def _assets(file: Path) -> list[version_pb2.AssetUpsert]:
    """The assets of a JSON file with the body of UpsertAssets, of any length. Raises UsageError."""
    try:
        data = file.read_bytes()
        if not data.lstrip().startswith(b"{"):
            raise UsageError(f'{file} must hold {{"assets": [...]}} as JSON')
        return list(json_format.Parse(data, version_service_pb2.UpsertAssetsRequest()).assets)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not JSON of UpsertAssets: {error}") from error


@version.command("remove")
@click.argument("draft")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--external-id",
    "external_ids",
    multiple=True,
    metavar="ID",
    help="Remove the image with this external id. Repeatable.",
)
@with_session
def remove(session: Session, draft: str, paths: tuple[str, ...], external_ids: tuple[str, ...]) -> None:
    """Remove images from a draft by their paths."""
    if not paths and not external_ids:
        raise click.UsageError("nothing to remove: give PATH or --external-id")
    answer = session.run(lambda client: client.delete_assets(draft, paths, external_ids=external_ids))
    if session.json:
        session.document(documents.document(answer))
        return
    if missing := len(paths) + len(external_ids) - answer.deleted_count:
        session.say(f"{counted(missing, 'image')} not found in the draft", style="yellow")
    session.answer(f"{answer.deleted_count} removed")
    session.answer(_summary(answer.version))


@version.command("classes")
@click.argument("draft")
@click.option("--add", multiple=True, metavar="NAME", help="Add a class. Repeatable.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Rename a class. Repeatable.")
@click.option("--merge", multiple=True, metavar="NAME=INTO", help="Merge the class NAME into INTO. Repeatable.")
@with_session
def classes(
    session: Session, draft: str, add: tuple[str, ...], rename: tuple[str, ...], merge: tuple[str, ...]
) -> None:
    """Change the classes of a draft: first --add, then --rename, then --merge (by the new names)."""
    if not (add or rename or merge):
        raise click.UsageError("nothing to change: give --add, --rename or --merge")
    renamed, merged = parse_assignments(rename), parse_assignments(merge)
    answer = session.run(lambda client: client.update_classes(draft, add=add, rename=renamed, merge=merged))
    if session.json:
        session.document(documents.document(answer))
        return
    names = {item.class_id: item.name for item in answer.classes}
    for item in answer.classes:
        session.answer(
            item.name + (f" -> {names[item.merged_into_class_id]}" if item.HasField("merged_into_class_id") else "")
        )


@version.command("commit")
@click.argument("draft")
@click.option(
    "--expected-base",
    metavar="REF",
    help="The newest version as you know it, which the draft replaces. Default: the draft's base.",
)
@with_flags(_COMMIT_FLAGS)
def commit(session: Session, draft: str, expected_base: str | None) -> None:
    """Commit a draft as the next version. Refused when the dataset has a newer version than the draft's base."""

    async def work(client: AsyncClient) -> tuple[str, dataset_pb2.DatasetVersion]:
        version_id = await client.version_id(draft)
        return version_id, await client.commit(version_id, expected_base=expected_base)

    version_id, made = session.run(work)
    if made.version_id != version_id:
        session.say(f"the draft equals {version_reference(made)}: no new version was created")
    if session.json:
        session.document(documents.version(made))
    else:
        session.answer(_summary(made))


@version.command("diff")
@click.argument("references", nargs=-1, required=True, metavar="[BEFORE] REF")
@with_session
def diff(session: Session, references: tuple[str, ...]) -> None:
    """Differences between the version or draft REF and the version BEFORE (default: its base)."""
    if len(references) > 2:
        raise click.UsageError("give one version, or two: the earlier one first")
    *before, reference = references
    found = session.run(lambda client: client.diff(reference, before[0] if before else None))
    if session.json:
        session.document(documents.document(found))
        return
    counts = found.counts
    session.answer(f"{counts.added} added, {counts.removed} removed, {counts.changed} changed")
    for changed in found.classes:
        session.answer(tables.class_difference_line(changed))
    session.answer_first(found.assets, tables.asset_difference_line)


@version.command("delete")
@click.argument("reference", metavar="REF")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_session
def delete(session: Session, reference: str, yes: bool) -> None:
    """Delete a draft, or the version REF (cells@v1) with its splits. Refused while a job uses one of them, or a draft
    is based on it.
    """

    async def work(client: AsyncClient) -> None:
        found = await client.version(reference)
        if found.state == dataset_pb2.VERSION_STATE_DRAFT:
            await client.discard_draft(found)
        else:
            await client.delete_version(reference)

    session.delete(reference, reference, work, yes=yes)


def _summary(item: dataset_pb2.DatasetVersion) -> str:
    """`cells@v2 364 images, 2 unlabelled, 1204 objects, 3 classes`; of a draft, with its id."""
    name = version_reference(item) if item.number else f"{item.dataset_name} draft {item.version_id}"
    unlabelled = f", {item.unlabelled_count} unlabelled" if item.unlabelled_count else ""
    images, objects = counted(item.image_count, "image"), counted(item.object_count, "object")
    return f"{name} {images}{unlabelled}, {objects}, {counted(len(item.class_names), 'class', 'classes')}"
