"""Domain values as protos. The other direction is in validate.py, where requests are judged."""

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from splitrail.split.v1 import dataset_pb2, import_pb2, split_pb2, split_service_pb2

from splitrail_split import annotations, domain
from splitrail_split.certificate import Certificate
from splitrail_split.imports import ImportView, PresignedUpload


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
    )


def asset(found: domain.Asset, part: int, url: str) -> dataset_pb2.Asset:
    """An image; annotations when it carries them."""
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
    )


def _annotation(one: annotations.Annotation) -> dataset_pb2.Annotation:
    if one.kind is not annotations.Kind.BOX:
        raise ValueError(f"annotations of kind {one.kind.name} have no message yet")
    x, y, width, height = (value / annotations.SCALE for value in one.values)
    return dataset_pb2.Annotation(class_id=one.class_id, box=dataset_pb2.Box(center_x=x, center_y=y, width=width, height=height))


def parameters(given: domain.SplitParameters) -> split_pb2.SplitParameters:
    """How a split was made."""
    train, val, test = given.ratios
    ratios = split_pb2.SplitRatios(train=train, val=val, test=test)
    return split_pb2.SplitParameters(ratios=ratios, seed=given.seed, stratify=given.stratify)


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


def certificate(made: Certificate, class_names: Sequence[str], ratios: Sequence[float], findings: Sequence[str]) -> split_pb2.SplitCertificate:
    """What a split achieves, with findings besides those of the certificate."""
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
        findings=[*made.unmet, *findings],
    )


def manifest_entry(found: domain.Asset, part: int, url: str) -> split_service_pb2.ManifestEntry:
    """What a pod needs of an image; `found` carries its annotations."""
    packed = found.annotations or b""
    return split_service_pb2.ManifestEntry(
        ordinal=found.ordinal,
        split=dataset_pb2.Split.ValueType(part),
        sha256=found.sha256.hex(),
        size_bytes=found.size_bytes,
        extension=domain.EXTENSIONS[found.format],
        packed_annotations=packed,
        yolo_labels=annotations.to_yolo_rows(packed),
        url=url,
    )


def problem(found: domain.Finding) -> import_pb2.Problem:
    """A finding of an import."""
    return import_pb2.Problem(
        path=found.path, line=found.line, code=found.code, message=found.message, image_excluded=found.image_excluded, note=found.note
    )


def upload(found: PresignedUpload) -> import_pb2.Upload:
    """Where to put a content."""
    return import_pb2.Upload(sha256=found.sha256.hex(), url=found.url, expire_time=timestamp(found.expire_time))


def import_(view: ImportView) -> import_pb2.Import:
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
