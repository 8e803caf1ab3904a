"""Split revisions as protos, and certificates as they are stored. Requests are checked in validate.py."""

from collections.abc import Sequence

from splitrail.internal.split.v1 import staging_service_pb2
from splitrail.split.v1 import dataset_pb2, split_pb2, split_service_pb2

from splitrail_split.contents.convert import timestamp
from splitrail_split.datasets.convert import PARTS, asset
from splitrail_split.domain.datasets import EXTENSIONS, Version
from splitrail_split.splits.domain import (
    Certificate,
    ClassBalance,
    ClassPart,
    GroupBy,
    GroupKind,
    Leak,
    LeakedAsset,
    MadeRevision,
    ManifestEnd,
    ManifestEntry,
    Method,
    MovedAsset,
    PartSummary,
    Revision,
    SplitComparison,
    SplitParameters,
)

_METHODS = {
    Method.STRATIFIED: split_pb2.SPLIT_METHOD_STRATIFIED,
    Method.RANDOM: split_pb2.SPLIT_METHOD_RANDOM,
    Method.HASH: split_pb2.SPLIT_METHOD_HASH,
    Method.IMPORTED: split_pb2.SPLIT_METHOD_IMPORTED,
}
_MANIFEST_BYTES = 512 * 1024


def parameters(given: SplitParameters) -> split_pb2.SplitParameters:
    """How a split was made."""
    train, val, test = given.ratios
    return split_pb2.SplitParameters(
        ratios=split_pb2.SplitRatios(train=train, val=val, test=test),
        seed=given.seed,
        method=_METHODS[given.method],
        group_by=[group_by(one) for one in given.group_by],
        base_split_id=given.base_split_id,
        pins=[split_pb2.Pin(**{one.by: one.value}, part=PARTS[one.part]) for one in given.pins],
        folds=split_pb2.Folds(count=given.folds.count, index=given.folds.index) if given.folds else None,
    )


def group_by(given: GroupBy) -> split_pb2.GroupBy:
    """A rule by which images are grouped."""
    match given.kind:
        case GroupKind.METADATA:
            return split_pb2.GroupBy(metadata_key=str(given.value))
        case GroupKind.FOLDER:
            return split_pb2.GroupBy(folder=True)
        case GroupKind.FILENAME:
            return split_pb2.GroupBy(filename_pattern=str(given.value))
        case GroupKind.NEAR_DUPLICATES:
            return split_pb2.GroupBy(near_duplicate_distance=int(given.value))


def part_digests(digests: Sequence[str]) -> split_pb2.PartDigests:
    """Digests of train, val and test."""
    train, val, test = digests
    return split_pb2.PartDigests(train=train, val=val, test=test)


def revision(found: Revision) -> split_pb2.SplitRevision:
    """A revision with its certificate."""
    return split_pb2.SplitRevision(
        split_id=found.split_id,
        version_id=found.version_id,
        dataset_id=found.dataset_id,
        project_id=found.project_id,
        number=found.number,
        parameters=parameters(found.parameters),
        algorithm_version=found.algorithm_version,
        digest=found.digest,
        part_digests=part_digests(found.part_digests),
        certificate=certificate(found.certificate),
        create_time=timestamp(found.create_time),
        reference=found.reference,
    )


def preview(version: Version, made: MadeRevision) -> split_pb2.SplitRevision:
    """A revision that is not stored: it has neither id nor number."""
    return split_pb2.SplitRevision(
        version_id=version.version_id,
        dataset_id=version.dataset_id,
        project_id=version.project_id,
        parameters=parameters(made.parameters),
        algorithm_version=made.algorithm_version,
        digest=made.digest,
        part_digests=part_digests(made.part_digests),
        certificate=certificate(made.certificate),
    )


def certificate(made: Certificate) -> split_pb2.SplitCertificate:
    """What a split achieves."""
    return split_pb2.SplitCertificate(
        parts=[
            split_pb2.PartSummary(
                part=PARTS[one.part],
                images=one.images,
                objects=one.objects,
                background_images=one.background_images,
                ideal_images=one.ideal_images,
            )
            for one in made.parts
        ],
        classes=[
            split_pb2.ClassBalance(class_name=one.class_name, parts=[_class_part(cell) for cell in one.parts])
            for one in made.classes
        ],
        worst_class=made.worst_class,
        max_deviation=made.max_deviation,
        random_max_deviation=made.random_max_deviation,
        max_deviation_images=made.max_deviation_images,
        empty_cells=made.empty_cells,
        random_empty_cells=made.random_empty_cells,
        duplicate_pairs=made.duplicate_pairs,
        near_duplicate_pairs=made.near_duplicate_pairs,
        neighbour_frame_pairs=made.neighbour_frame_pairs,
        frame_pairs=made.frame_pairs,
        group_count=made.group_count,
        parted_groups=made.parted_groups,
        kept_images=made.kept_images,
        findings=made.findings,
    )


def _class_part(cell: ClassPart) -> split_pb2.ClassPart:
    return split_pb2.ClassPart(
        part=PARTS[cell.part],
        images=cell.images,
        objects=cell.objects,
        ideal_images=cell.ideal_images,
        deviation=cell.deviation,
        expected_half_width=cell.expected_half_width,
    )


def pack_certificate(made: Certificate) -> bytes:
    """A certificate as it is stored: a serialized splitrail.split.v1.SplitCertificate, whose fields never change their
    numbers.
    """
    return certificate(made).SerializeToString(deterministic=True)


def unpack_certificate(stored: bytes) -> Certificate:
    """A stored certificate."""
    found = split_pb2.SplitCertificate.FromString(stored)
    return Certificate(
        parts=tuple(
            PartSummary(one.part, one.images, one.objects, one.background_images, one.ideal_images)
            for one in found.parts
        ),
        classes=tuple(
            ClassBalance(one.class_name, tuple(_stored_class_part(cell) for cell in one.parts)) for one in found.classes
        ),
        worst_class=found.worst_class,
        max_deviation=found.max_deviation,
        random_max_deviation=found.random_max_deviation,
        max_deviation_images=found.max_deviation_images,
        empty_cells=found.empty_cells,
        random_empty_cells=found.random_empty_cells,
        duplicate_pairs=found.duplicate_pairs,
        near_duplicate_pairs=tuple(found.near_duplicate_pairs),
        neighbour_frame_pairs=found.neighbour_frame_pairs,
        frame_pairs=found.frame_pairs,
        group_count=found.group_count,
        parted_groups=found.parted_groups,
        kept_images=found.kept_images,
        findings=tuple(found.findings),
    )


def _stored_class_part(cell: split_pb2.ClassPart) -> ClassPart:
    return ClassPart(cell.part, cell.images, cell.objects, cell.ideal_images, cell.deviation, cell.expected_half_width)


def moves(found: SplitComparison) -> list[split_service_pb2.Move]:
    """Images by their parts before and now."""
    return [
        split_service_pb2.Move(before=PARTS[before], now=PARTS[now], images=images)
        for (before, now), images in sorted(found.moves.items())
    ]


def moved_asset(found: MovedAsset) -> split_service_pb2.MovedAsset:
    """An image that is in another part than before."""
    return split_service_pb2.MovedAsset(asset=asset(found.asset, found.now, ""), before=PARTS[found.before])


def leak(found: Leak) -> split_service_pb2.Leak:
    """Two images in different parts that look alike."""
    return split_service_pb2.Leak(first=_leaked(found.first), second=_leaked(found.second), distance=found.distance)


def _leaked(found: LeakedAsset) -> dataset_pb2.Asset:
    return asset(found.asset, found.part, found.url)


def manifest_messages(entries: Sequence[ManifestEntry]) -> list[staging_service_pb2.StreamManifestResponse]:
    """Entries in messages of bounded size."""
    messages = [staging_service_pb2.StreamManifestResponse()]
    held = 0
    for entry in map(_manifest_entry, entries):
        size = entry.ByteSize()
        if held and held + size > _MANIFEST_BYTES:
            messages.append(staging_service_pb2.StreamManifestResponse())
            held = 0
        messages[-1].entries.append(entry)
        held += size
    return messages


def _manifest_entry(found: ManifestEntry) -> staging_service_pb2.ManifestEntry:
    """What a pod needs of an image."""
    return staging_service_pb2.ManifestEntry(
        ordinal=found.asset.ordinal,
        part=PARTS[found.part],
        sha256=found.asset.sha256.hex(),
        size_bytes=found.asset.size_bytes,
        extension=EXTENSIONS[found.asset.format],
        packed_annotations=found.asset.annotations or b"",
        url=found.url,
    )


def manifest_end(found: ManifestEnd) -> staging_service_pb2.ManifestEnd:
    """What tells a pod that it has everything."""
    digests = part_digests(found.part_digests)
    return staging_service_pb2.ManifestEnd(
        class_names=found.class_names, image_count=found.image_count, part_digests=digests
    )
