"""`splitrail split`."""

import click
from splitrail.split.v1 import split_pb2, split_service_pb2

from ..client import AsyncClient
from ..references import SplitOptions, method_name, parse_assignments, parse_ratios
from ..text import counted
from . import tables
from .documents import document
from .options import Session, with_flags, with_session

_FLAGS = {
    "parameters.ratios": "--ratios",
    "parameters.group_by": "--group-by",
    "parameters.base_split_id": "--base",
    "parameters.pins": "--pin",
    "parameters.folds": "--folds",
}


@click.group()
def split() -> None:
    """Split a version into train, val and test."""


@split.command("create")
@click.argument("reference", metavar="REF")
@click.option(
    "--ratios",
    default="0.7,0.15,0.15",
    show_default=True,
    metavar="TRAIN,VAL,TEST",
    help="Fractions; they add up to 1.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    help="The same seed gives the same split everywhere.",
)
@click.option(
    "--stratify",
    "methods",
    flag_value="stratified",
    multiple=True,
    help="Balance the classes over the parts (the default).",
)
@click.option("--no-stratify", "methods", flag_value="random", multiple=True, help="Assign at random.")
@click.option(
    "--by-hash",
    "methods",
    flag_value="hash",
    multiple=True,
    help="Assign by each image's hash: adding or removing images moves no other.",
)
@click.option(
    "--group-by",
    multiple=True,
    metavar="RULE",
    help="Keep images in one part: folder, metadata:KEY, name:PATTERN, near:BITS. Repeatable.",
)
@click.option(
    "--base",
    metavar="REF#N",
    help="A split of an earlier version: its images keep their parts, only new images are assigned.",
)
@click.option("--pin", "pins", multiple=True, metavar="PATH=PART", help="Fix an image's part. Repeatable.")
@click.option(
    "--folds", type=click.IntRange(2, 20), help="Cross-validation: this many splits with one held-out test set."
)
@click.option("--preview", is_flag=True, help="Show the split without storing it.")
@with_flags(_FLAGS)
def create_split(
    session: Session,
    reference: str,
    *,
    ratios: str,
    methods: tuple[str, ...],
    folds: int | None,
    preview: bool,
    **options: object,
) -> None:
    """Split the version REF (cells@v1) and make it the current split (folds do not become the current split)."""
    if len(set(methods)) > 1:
        raise click.UsageError("--stratify, --no-stratify and --by-hash exclude each other: give one of them")
    asked = _split_options({**options, "method": methods[0] if methods else ""})

    async def work(client: AsyncClient) -> list[split_pb2.SplitRevision]:
        make = client.preview_split if preview else client.split
        if folds is None:
            return [await make(reference, parse_ratios(ratios), **asked)]
        each: list[SplitOptions] = [{**asked, "folds": (folds, index)} for index in range(folds)]
        return [await make(reference, parse_ratios(ratios), **fold) for fold in each]

    made = session.run(work)
    if session.json:
        session.document(document(made[0]) if folds is None else [document(item) for item in made])
        return
    for item in made:
        _show(session, item)


def _split_options(given: dict[str, object]) -> SplitOptions:
    """The options that were given. Raises UsageError."""
    options = SplitOptions()
    options.update({name: value for name, value in given.items() if value})  # type: ignore[typeddict-item]  # click has typed them
    if pins := given["pins"]:
        assert isinstance(pins, tuple)
        options["pins"] = parse_assignments(pins)
    return options


@split.command("get")
@click.argument("reference", metavar="REF")
@with_session
def get_split(session: Session, reference: str) -> None:
    """Show a split: cells@v1 (the current one) or cells@v1#2."""
    item = session.run(lambda client: client.get_split(reference))
    if session.json:
        session.document(document(item))
    else:
        _show(session, item)


@split.command("ls")
@click.argument("reference", metavar="REF")
@with_session
def list_splits(session: Session, reference: str) -> None:
    """Splits of the version REF, newest first."""

    async def work(client: AsyncClient) -> tuple[str, list[split_pb2.SplitRevision]]:
        version = await client.version(reference)
        return version.current_split_id, await client.splits(reference)

    current, items = session.run(work)
    none = f"no split of {reference} yet: splitrail split create {reference}"
    session.answer_list(
        items,
        lambda item: document(item, current=item.split_id == current),
        lambda shown: tables.splits(shown, current),
        none,
    )


@split.command("compare")
@click.argument("before", metavar="BEFORE#N")
@click.argument("reference", metavar="REF#N")
@with_session
def compare(session: Session, before: str, reference: str) -> None:
    """Images that are in another part in REF#N than in BEFORE#N, compared by content."""
    found = session.run(lambda client: client.compare_splits(reference, before))
    if session.json:
        session.document(document(found))
        return
    session.out.print(tables.moves(found.moves))
    session.answer_first(found.assets, tables.moved_line)


@split.command("leaks")
@click.argument("reference", metavar="REF")
@click.option(
    "--within",
    type=click.IntRange(0, 6),
    default=6,
    show_default=True,
    help="Bits of 64 in which perceptual hashes may differ.",
)
@with_session
def leaks(session: Session, reference: str, within: int) -> None:
    """Near-duplicates in different parts of a split, closest first."""
    found: list[split_service_pb2.Leak] = session.run(lambda client: client.leaks(reference, within))
    session.answer_list(found, document, tables.leaks, "none")


@split.command("delete")
@click.argument("reference", metavar="REF#N")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_session
def delete(session: Session, reference: str, yes: bool) -> None:
    """Delete the split REF#N; the newest of the others becomes the current one. Refused while a job uses it."""
    session.delete(reference, f"the split {reference}", lambda client: client.delete_split(reference), yes=yes)


def _show(session: Session, item: split_pb2.SplitRevision) -> None:
    parameters, certificate = item.parameters, item.certificate
    ratios = parameters.ratios
    fold = f", fold {parameters.folds.index + 1} of {parameters.folds.count}" if parameters.HasField("folds") else ""
    name = item.reference or "preview"
    session.answer(
        f"{name} {method_name(parameters.method)}, {ratios.train:g}/{ratios.val:g}/{ratios.test:g}, seed {parameters.seed}{fold}"
    )
    session.out.print(tables.split_counts(item))
    if certificate.worst_class:
        session.answer(
            f"largest deviation {certificate.max_deviation:.2%} ({certificate.worst_class}); at random {certificate.random_max_deviation:.2%}"
        )
    if certificate.group_count:
        session.answer(f"{counted(certificate.group_count, 'group')}, {certificate.parted_groups} in several parts")
    if certificate.kept_images:
        session.answer(f"{counted(certificate.kept_images, 'image')} kept their parts")
    near = sum(certificate.near_duplicate_pairs)
    if near or certificate.neighbour_frame_pairs:
        frames = f", {certificate.neighbour_frame_pairs} of {certificate.frame_pairs} pairs of neighbouring frames"
        session.answer(
            f"across parts: {counted(near, 'pair')} of near-duplicates{frames if certificate.frame_pairs else ''}"
        )
    for finding in certificate.findings:
        session.answer(f"note: {finding}")
    session.answer(f"digest {item.digest}")
