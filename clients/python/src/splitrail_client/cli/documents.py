"""The JSON documents of `-o json`: flat, snake_case, numbers as numbers. `run watch` prints the gateway's own messages instead."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from splitrail.events.v1 import run_event_pb2
from splitrail.metrics.v1 import metrics_pb2
from splitrail.split.v1 import dataset_pb2, import_pb2, split_pb2, split_service_pb2, version_pb2, version_service_pb2
from splitrail.trainer.v1 import run_pb2, run_service_pb2

from ..export import ExportResult
from ..references import from_value, method_name, split_name, version_reference
from ..transfer import ImportResult
from ..versions import DraftChange

Document = dict[str, Any]


def word(enum: Any, value: int, prefix: str) -> str:
    """An enum's value in lower case without its prefix; empty for the unspecified one."""
    return str(enum.Name(value)).removeprefix(prefix).lower() if value else ""


def state(job: run_pb2.Job) -> str:
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    return word(run_event_pb2.JobState, job.state, "JOB_STATE_")


def time_text(value: Timestamp) -> str | None:
    """RFC 3339, or None when it has not been set."""
    return value.ToJsonString() if value.seconds else None


def dataset(item: dataset_pb2.Dataset) -> Document:
    return {
        "dataset_id": item.dataset_id,
        "project": item.project_id,
        "name": item.name,
        "task": word(dataset_pb2.Task, item.task, "TASK_"),
        "latest_version": item.latest_version,
        "external_id": item.external_id,
        "labels": dict(item.labels),
        "create_time": time_text(item.create_time),
    }


def version(item: dataset_pb2.DatasetVersion) -> Document:
    return {
        "version_id": item.version_id,
        "reference": version_reference(item),
        "dataset_id": item.dataset_id,
        "dataset": item.dataset_name,
        "state": word(dataset_pb2.VersionState, item.state, "VERSION_STATE_"),
        "base_version_id": item.base_version_id,
        "digest": item.digest,
        "images": item.image_count,
        "objects": item.object_count,
        "empty_images": item.empty_count,
        "unlabelled_images": item.unlabelled_count,
        "classes": [
            {"class_id": class_id, "class": count.class_name, "images": count.images, "objects": count.objects}
            for class_id, count in zip(item.class_ids, item.class_counts, strict=True)
        ],
        "commit_time": time_text(item.commit_time),
    }


def draft_change(change: DraftChange) -> Document:
    return {
        "added": change.added,
        "changed": change.changed,
        "unchanged": change.unchanged,
        "uploaded_files": change.uploaded_files,
        "uploaded_bytes": change.uploaded_bytes,
        "draft": version(change.version),
    }


def draft_classes(items: Sequence[version_pb2.DraftClass]) -> list[Document]:
    return [
        {"class_id": item.class_id, "class": item.name, "merged_into": item.merged_into_class_id if item.HasField("merged_into_class_id") else None}
        for item in items
    ]


def difference_name(kind: version_pb2.DifferenceKind.ValueType) -> str:
    """`added`, `removed` or `changed`."""
    return word(version_pb2.DifferenceKind, kind, "DIFFERENCE_KIND_")


def field_name(field: version_pb2.AssetField.ValueType) -> str:
    """`annotations`, `label_state` and the like."""
    return word(version_pb2.AssetField, field, "ASSET_FIELD_")


def differences(found: version_service_pb2.DiffVersionsResponse) -> Document:
    def image(asset: dataset_pb2.Asset) -> Document:
        return {
            "path": asset.path,
            "external_id": asset.external_id,
            "sha256": asset.sha256,
            "label_state": word(dataset_pb2.LabelState, asset.label_state, "LABEL_STATE_"),
        }

    return {
        "added": found.counts.added,
        "removed": found.counts.removed,
        "changed": found.counts.changed,
        "fields": {field_name(item.field): item.images for item in found.counts.fields},
        "classes": [
            {"kind": difference_name(item.kind), "class_id": item.class_id, "class": item.name, "before": item.other_name} for item in found.classes
        ],
        "assets": [
            {
                "kind": difference_name(item.kind),
                "fields": [field_name(field) for field in item.fields],
                "asset": image(item.asset) if item.HasField("asset") else None,
                "before": image(item.other) if item.HasField("other") else None,
            }
            for item in found.assets
        ],
    }


def problem(item: import_pb2.Problem) -> Document:
    return {
        "path": item.path,
        "line": item.line if item.HasField("line") else None,
        "object": item.object if item.HasField("object") else None,
        "code": item.code,
        "message": item.message,
        "image_excluded": item.image_excluded,
        "note": item.note,
    }


def import_report(report: import_pb2.Import, problems: Sequence[import_pb2.Problem], result: ImportResult | None) -> Document:
    version = report.version
    return {
        "import_id": report.import_id,
        "dataset": report.dataset_name,
        "state": word(import_pb2.ImportState, report.state, "IMPORT_STATE_"),
        "failure": report.failure,
        "format": word(import_pb2.SourceFormat, report.format, "SOURCE_FORMAT_"),
        "version": result.reference if result else "",
        "version_id": version.version_id,
        "dataset_id": version.dataset_id,
        "digest": version.digest,
        "files": report.file_count,
        "images": version.image_count if version.version_id else report.image_count,
        "objects": version.object_count,
        "excluded_images": report.excluded_count,
        "classes": [{"class": item.class_name, "images": item.images, "objects": item.objects} for item in version.class_counts],
        "uploaded_files": result.uploaded_files if result else None,
        "uploaded_bytes": result.uploaded_bytes if result else None,
        "problem_count": report.problem_count,
        "note_count": report.note_count,
        "problems": [problem(item) for item in problems],
    }


def export_report(result: ExportResult) -> Document:
    end = result.end
    return {
        "reference": result.reference,
        "folder": str(result.folder),
        "files": end.file_count,
        "images": end.image_count,
        "written_files": result.written_files,
        "written_bytes": result.written_bytes,
        "version_digest": end.version_digest,
        "split_digest": end.split_digest,
        "part_digests": {"train": end.part_digests.train, "val": end.part_digests.val, "test": end.part_digests.test},
    }


def _group_by(rule: split_pb2.GroupBy) -> str:
    """As it is written for `--group-by`."""
    kind = rule.WhichOneof("by")
    names = {"metadata_key": "metadata", "filename_pattern": "name", "near_duplicate_distance": "near"}
    return "folder" if kind == "folder" else f"{names[kind or 'metadata_key']}:{getattr(rule, kind or 'metadata_key')}"


def part_name(value: dataset_pb2.Split.ValueType) -> str | None:
    """`train`, `val` or `test`; None for an image in no part, or not there."""
    return split_name(value) if value else None


def comparison(found: split_service_pb2.CompareSplitsResponse) -> Document:
    return {
        "moves": [{"before": part_name(move.before), "now": part_name(move.now), "images": move.images} for move in found.moves],
        "assets": [
            {"path": one.asset.path, "sha256": one.asset.sha256, "before": part_name(one.before), "now": part_name(one.asset.split)}
            for one in found.assets
        ],
    }


def leak(item: split_service_pb2.Leak) -> Document:
    first, second = ({"path": one.path, "sha256": one.sha256, "split": part_name(one.split), "url": one.url} for one in (item.first, item.second))
    return {"distance": item.distance, "first": first, "second": second}


def split(item: split_pb2.SplitRevision) -> Document:
    ratios, certificate = item.parameters.ratios, item.certificate
    return {
        "split_id": item.split_id,
        "reference": item.reference,
        "version_id": item.version_id,
        "dataset_id": item.dataset_id,
        "digest": item.digest,
        "part_digests": {"train": item.part_digests.train, "val": item.part_digests.val, "test": item.part_digests.test},
        "ratios": {"train": ratios.train, "val": ratios.val, "test": ratios.test},
        "seed": item.parameters.seed,
        "method": method_name(item.parameters.method),
        "group_by": [_group_by(rule) for rule in item.parameters.group_by],
        "base_split_id": item.parameters.base_split_id,
        "pins": [{"asset": str(getattr(pin, pin.WhichOneof("asset") or "path")), "split": split_name(pin.split)} for pin in item.parameters.pins],
        "folds": {"count": item.parameters.folds.count, "index": item.parameters.folds.index} if item.parameters.HasField("folds") else None,
        "algorithm_version": item.algorithm_version,
        "parts": [
            {
                "split": split_name(part.split),
                "images": part.images,
                "ideal_images": part.ideal_images,
                "objects": part.objects,
                "background_images": part.background_images,
            }
            for part in certificate.parts
        ],
        "classes": [
            {
                "class": balance.class_name,
                **{
                    split_name(part.split): {
                        "images": part.images,
                        "ideal_images": part.ideal_images,
                        "objects": part.objects,
                        "deviation": part.deviation,
                        "expected_half_width": part.expected_half_width,
                    }
                    for part in balance.parts
                },
            }
            for balance in certificate.classes
        ],
        "worst_class": certificate.worst_class,
        "max_deviation": certificate.max_deviation,
        "max_deviation_images": certificate.max_deviation_images,
        "random_max_deviation": certificate.random_max_deviation,
        "empty_cells": certificate.empty_cells,
        "random_empty_cells": certificate.random_empty_cells,
        "groups": certificate.group_count,
        "parted_groups": certificate.parted_groups,
        "kept_images": certificate.kept_images,
        "duplicate_pairs": certificate.duplicate_pairs,
        "near_duplicate_pairs": list(certificate.near_duplicate_pairs),
        "neighbour_frame_pairs": certificate.neighbour_frame_pairs,
        "frame_pairs": certificate.frame_pairs,
        "findings": list(certificate.findings),
        "create_time": time_text(item.create_time),
    }


def _job(job: run_pb2.Job) -> Document:
    return {
        "state": state(job),
        "attempt": job.attempt,
        "failures": job.failures,
        "cause": word(run_event_pb2.FailureCause, job.cause, "FAILURE_CAUSE_"),
        "message": job.message,
        "cancel_requested": job.cancel_requested,
        "queue": job.queue,
        "queue_position": job.queue_position if job.HasField("queue_position") else None,
        "worker": job.worker,
        "create_time": time_text(job.create_time),
        "start_time": time_text(job.start_time),
        "end_time": time_text(job.end_time),
    }


def run(item: run_pb2.Run) -> Document:
    return {
        "run_id": item.run_id,
        "reference": item.reference,
        "project": item.project_id,
        **_job(item.job),
        "model": item.model,
        "epochs": item.epochs,
        "checkpoint_epoch": item.checkpoint_epoch,
        "dataset_id": item.dataset_id,
        "version_id": item.version_id,
        "split_id": item.split_id,
        "split_reference": item.split_reference,
        "split_digest": item.split_digest,
        "class_names": list(item.class_names),
        "arguments": {name: from_value(value) for name, value in sorted(item.arguments.items())},
        "resolved_arguments": {name: from_value(value) for name, value in sorted(item.resolved_arguments.items())},
        "versions": dict(item.versions),
        "external_id": item.external_id,
        "labels": dict(item.labels),
    }


def epoch(item: metrics_pb2.Epoch) -> Document:
    return {"epoch": item.epoch, "attempt": item.attempt, "metrics": dict(sorted(item.metrics.items()))}


def artifact(item: run_pb2.Artifact) -> Document:
    return {
        "name": item.name,
        "kind": word(run_pb2.ArtifactKind, item.kind, "ARTIFACT_KIND_"),
        "attempt": item.attempt,
        "size_bytes": item.size_bytes,
        "sha256": item.sha256,
        "url": item.url,
    }


def plot(item: metrics_pb2.Plot, owner: str) -> Document:
    return {
        "name": item.name,
        "of": owner,
        "title": item.title,
        "kind": item.kind,
        "content_type": item.content_type,
        "size_bytes": item.size_bytes,
        "sha256": item.sha256,
        "url": item.url,
        "url_expire_time": time_text(item.url_expire_time),
    }


def log_line(item: metrics_pb2.FeedEvent) -> Document:
    return {
        "seq": item.seq,
        "time": time_text(item.event_time),
        "attempt": item.attempt,
        "level": word(run_event_pb2.LogLevel, item.log.level, "LOG_LEVEL_"),
        "text": item.log.text,
    }


def evaluation_reference(item: run_pb2.Evaluation) -> str:
    """`cells/17/eval/2`."""
    return f"{item.run_reference}/eval/{item.number}"


def confusion_counts(matrix: run_pb2.ConfusionMatrix) -> list[list[float]]:
    """Rows are predicted, columns true; of both the last is the background, whatever the classes are called. Empty when there is no matrix."""
    side = len(matrix.class_names) + 1
    return [list(matrix.counts[start : start + side]) for start in range(0, len(matrix.counts), side)]


def evaluation(item: run_pb2.Evaluation) -> Document:
    result, matrix = item.result, item.result.confusion_matrix
    return {
        "evaluation_id": item.evaluation_id,
        "reference": evaluation_reference(item),
        "run_id": item.run_id,
        "run_reference": item.run_reference,
        **_job(item.job),
        "weights": word(run_pb2.ArtifactKind, item.weights, "ARTIFACT_KIND_"),
        "split": split_name(item.split),
        "split_id": item.split_id,
        "split_reference": item.split_reference,
        "contaminated_images": item.contaminated_images,
        "arguments": {name: from_value(value) for name, value in sorted(item.arguments.items())},
        "images": result.images,
        "objects": result.objects,
        "overall": dict(sorted(result.overall.items())),
        "classes": [
            {"class": row.class_name, "images": row.images, "objects": row.objects, **dict(sorted(row.metrics.items()))} for row in result.classes
        ],
        "confusion_matrix": {
            "class_names": list(matrix.class_names),
            "confidence": matrix.confidence,
            "counts": confusion_counts(matrix),
        },
        "curves": [
            {
                "name": curve.name,
                "x_title": curve.x_title,
                "y_title": curve.y_title,
                "x": list(curve.x),
                "classes": [{"class": one.class_name, "y": list(one.y)} for one in curve.classes],
            }
            for curve in result.curves
        ],
        "speed_ms": dict(sorted(result.speed_ms.items())),
    }


def argument(item: run_service_pb2.ArgumentDescriptor) -> Document:
    return {
        "name": item.name,
        "group": item.group,
        "type": word(run_service_pb2.ArgumentType, item.type, "ARGUMENT_TYPE_"),
        "default": from_value(item.default_value),
        "minimum": item.minimum if item.HasField("minimum") else None,
        "maximum": item.maximum if item.HasField("maximum") else None,
        "choices": list(item.choices),
        "multiple_of": item.multiple_of or None,
        "help": item.help,
    }
