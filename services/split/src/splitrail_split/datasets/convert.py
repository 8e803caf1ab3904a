"""Domain values as protos. The other direction is in validate.py, where requests are judged."""

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from splitrail.split.v1 import dataset_pb2, import_pb2, split_pb2, split_service_pb2
from splitrail_common import annotations, paging

from splitrail_split.domain import datasets as domain
from splitrail_split.splits.certificate import Certificate, half_width
from splitrail_split.splits.leaks import Leaks
from splitrail_split.splits.store import NewRevision


def timestamp(moment: datetime | None) -> Timestamp | None:
    """A point in time; None stays absent."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def dataset(found: domain.Dataset) -> dataset_pb2.Dataset:
    """A dataset."""
    return dataset_pb2.Dataset(
        dataset_id=found.dataset_id,
        project_id=found.project_id,
        name=found.name,
        task=dataset_pb2.Task.ValueType(found.task),
        external_id=found.external_id,
        labels=found.labels,
        create_time=timestamp(found.create_time),
        latest_version=found.latest_version,
    )


def version(found: domain.Version) -> dataset_pb2.DatasetVersion:
    """A version with its counts."""
    counts = zip(found.class_names, found.class_images, found.class_objects, strict=True)
    return dataset_pb2.DatasetVersion(
        version_id=found.version_id,
        dataset_id=found.dataset_id,
        project_id=found.project_id,
        number=found.number,
        state=dataset_pb2.VersionState.ValueType(found.state),
        class_names=found.class_names,
        image_count=found.image_count,
        object_count=found.object_count,
        digest=found.digest,
        commit_time=timestamp(found.commit_time),
        class_counts=[dataset_pb2.ClassCount(class_name=name, images=images, objects=objects) for name, images, objects in counts],
        empty_count=found.empty_count,
        unlabelled_count=found.unlabelled_count,
        problem_count=found.problem_count,
        current_split_id=found.current_split_id or "",
        dataset_name=found.dataset_name,
        class_ids=found.class_ids,
        base_version_id=found.base_version_id or "",
        flip_idx=found.flip_idx,
    )


def asset(found: domain.Asset, part: int, url: str, group: int | None = None) -> dataset_pb2.Asset:
    """An image; annotations when it carries them, the group when it is known."""
    return dataset_pb2.Asset(
        ordinal=found.ordinal,
        sha256=found.sha256.hex(),
        path=found.path,
        width=found.width,
        height=found.height,
        size_bytes=found.size_bytes,
        label_state=dataset_pb2.LabelState.ValueType(found.label_state),
        split=dataset_pb2.Split.ValueType(part),
        annotations=[_annotation(one) for one in annotations.unpack(found.annotations)] if found.annotations is not None else (),
        url=url,
        external_id=found.external_id,
        metadata=found.metadata,
        group=group,
    )


def _annotation(one: annotations.Annotation) -> dataset_pb2.Annotation:
    made = dataset_pb2.Annotation(class_id=one.class_id)
    match one.kind:
        case annotations.Kind.BOX:
            made.box.CopyFrom(_box(one.values))
        case annotations.Kind.POLYGON:
            made.polygon.CopyFrom(dataset_pb2.Polygon(points=_points(one.values)))
        case annotations.Kind.OBB:
            made.oriented_box.CopyFrom(dataset_pb2.OrientedBox(corners=_points(one.values)))
        case annotations.Kind.KEYPOINTS:
            made.keypoints.CopyFrom(dataset_pb2.Keypoints(box=_box(one.values[:4]), points=_keypoints(one.values[4:])))
        case annotations.Kind.CLASS:
            pass  # no shape: the whole image
    return made


def _box(values: Sequence[int]) -> dataset_pb2.Box:
    x, y, width, height = (value / annotations.SCALE for value in values)
    return dataset_pb2.Box(center_x=x, center_y=y, width=width, height=height)


def _points(values: Sequence[int]) -> list[dataset_pb2.Point]:
    return [dataset_pb2.Point(x=x / annotations.SCALE, y=y / annotations.SCALE) for x, y in zip(values[0::2], values[1::2], strict=True)]


def _keypoints(values: Sequence[int]) -> list[dataset_pb2.Keypoint]:
    triples = zip(values[0::3], values[1::3], values[2::3], strict=True)
    return [
        dataset_pb2.Keypoint(point=_points((x, y))[0], visibility=dataset_pb2.Visibility.ValueType(visibility + 1)) for x, y, visibility in triples
    ]


def parameters(given: domain.SplitParameters) -> split_pb2.SplitParameters:
    """How a split was made."""
    train, val, test = given.ratios
    ratios = split_pb2.SplitRatios(train=train, val=val, test=test)
    folds = split_pb2.Folds(count=given.folds.count, index=given.folds.index) if given.folds else None
    return split_pb2.SplitParameters(
        ratios=ratios,
        seed=given.seed,
        method=METHODS[given.method],
        group_by=[group_by(one) for one in given.group_by],
        base_split_id=given.base_split_id,
        pins=[split_pb2.Pin(**{one.by: one.value}, split=dataset_pb2.Split.ValueType(one.part)) for one in given.pins],
        folds=folds,
    )


METHODS = {
    domain.Method.STRATIFIED: split_pb2.SPLIT_METHOD_STRATIFIED,
    domain.Method.RANDOM: split_pb2.SPLIT_METHOD_RANDOM,
    domain.Method.HASH: split_pb2.SPLIT_METHOD_HASH,
    domain.Method.IMPORTED: split_pb2.SPLIT_METHOD_IMPORTED,
}


def group_by(given: domain.GroupBy) -> split_pb2.GroupBy:
    """A rule by which images are grouped."""
    match given.kind:
        case domain.GroupKind.METADATA:
            return split_pb2.GroupBy(metadata_key=str(given.value))
        case domain.GroupKind.FOLDER:
            return split_pb2.GroupBy(folder=True)
        case domain.GroupKind.FILENAME:
            return split_pb2.GroupBy(filename_pattern=str(given.value))
        case domain.GroupKind.NEAR_DUPLICATES:
            return split_pb2.GroupBy(near_duplicate_distance=int(given.value))


def part_digests(digests: Sequence[str]) -> split_pb2.PartDigests:
    """Digests of train, val and test."""
    train, val, test = digests
    return split_pb2.PartDigests(train=train, val=val, test=test)


def revision(found: domain.Revision) -> split_pb2.SplitRevision:
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
        certificate=split_pb2.SplitCertificate.FromString(found.certificate),
        create_time=timestamp(found.create_time),
        reference=found.reference,
    )


def preview(version: domain.Version, made: NewRevision) -> split_pb2.SplitRevision:
    """A revision that is not stored: it has neither id nor number."""
    return split_pb2.SplitRevision(
        version_id=version.version_id,
        dataset_id=version.dataset_id,
        project_id=version.project_id,
        parameters=parameters(made.parameters),
        algorithm_version=made.algorithm_version,
        digest=made.digest,
        part_digests=part_digests(made.part_digests),
        certificate=split_pb2.SplitCertificate.FromString(made.certificate),
    )


def comparison(found: domain.Comparison) -> split_service_pb2.CompareSplitsResponse:
    """What moved between two revisions."""
    part = dataset_pb2.Split.ValueType
    moves = [split_service_pb2.Move(before=part(before), now=part(now), images=images) for (before, now), images in sorted(found.moves.items())]
    rows = zip(found.assets, found.before, found.now, strict=True)
    assets = [split_service_pb2.MovedAsset(asset=asset(one, now, ""), before=part(before)) for one, before, now in rows]
    count = paging.fitting(assets)
    token = paging.encode([found.assets[count - 1].ordinal]) if found.more or count < len(assets) else ""
    return split_service_pb2.CompareSplitsResponse(moves=moves, assets=assets[:count], next_page_token=token)


def certificate(made: Certificate, class_names: Sequence[str], ratios: Sequence[float], leaks: Leaks) -> split_pb2.SplitCertificate:
    """What a split achieves, still without words."""
    objects = made.boxes.sum(axis=0)
    totals = made.images.sum(axis=1)
    parts = [dataset_pb2.Split.ValueType(number) for number in domain.PARTS.values()]
    summaries = [
        split_pb2.PartSummary(
            split=part,
            images=made.sizes[column],
            objects=int(objects[column]),
            background_images=made.background[column],
            ideal_images=made.wanted_sizes[column],
        )
        for column, part in enumerate(parts)
    ]
    classes = [
        split_pb2.ClassBalance(
            class_name=name,
            parts=[
                split_pb2.ClassPart(
                    split=part,
                    images=int(made.images[row, column]),
                    objects=int(made.boxes[row, column]),
                    ideal_images=float(made.ideal[row, column]),
                    deviation=abs(int(made.images[row, column]) / int(totals[row]) - ratios[column]) if totals[row] else 0.0,
                    expected_half_width=half_width(int(made.boxes[row, column])),
                )
                for column, part in enumerate(parts)
            ],
        )
        for row, name in enumerate(class_names)
    ]
    return split_pb2.SplitCertificate(
        parts=summaries,
        classes=classes,
        worst_class=class_names[made.worst.class_id] if made.worst else "",
        max_deviation=made.max_deviation_fraction,
        random_max_deviation=made.random_max_deviation_fraction,
        max_deviation_images=made.max_deviation_images,
        empty_cells=len(made.empty_cells),
        random_empty_cells=made.random_empty_cells,
        duplicate_pairs=leaks.duplicate_pairs,
        near_duplicate_pairs=leaks.near_pairs,
        neighbour_frame_pairs=leaks.parted_frame_pairs,
        frame_pairs=leaks.frame_pairs,
    )


def manifest_entry(found: domain.Asset, part: int, url: str) -> split_service_pb2.ManifestEntry:
    """What a pod needs of an image; `found` carries its annotations."""
    return split_service_pb2.ManifestEntry(
        ordinal=found.ordinal,
        split=dataset_pb2.Split.ValueType(part),
        sha256=found.sha256.hex(),
        size_bytes=found.size_bytes,
        extension=domain.EXTENSIONS[found.format],
        packed_annotations=found.annotations or b"",
        url=url,
    )


def problem(found: domain.Finding) -> import_pb2.Problem:
    """A finding of an import."""
    return import_pb2.Problem(
        path=found.path,
        line=found.line,
        object=found.object,
        code=found.code,
        message=found.message,
        image_excluded=found.image_excluded,
        note=found.note,
    )


def upload(found: domain.PresignedUpload) -> import_pb2.Upload:
    """Where to put a content."""
    return import_pb2.Upload(sha256=found.sha256.hex(), url=found.url, expire_time=timestamp(found.expire_time))


def import_(view: domain.ImportView) -> import_pb2.Import:
    """An import with its report, as far as there is one."""
    found = view.found
    return import_pb2.Import(
        import_id=found.import_id,
        project_id=found.project_id,
        dataset_name=found.dataset_name,
        state=import_pb2.ImportState.ValueType(found.state),
        format=import_pb2.SourceFormat.ValueType(found.format),
        file_count=found.file_count,
        image_count=found.image_count,
        processed_count=found.processed_count,
        version=version(view.version) if view.version else None,
        problem_count=found.problem_count,
        problems=[problem(one) for one in view.findings],
        failure=found.failure,
        excluded_count=found.excluded_count,
        create_time=timestamp(found.create_time),
        note_count=found.note_count,
    )
