"""Documents about data: datasets, versions and drafts, imports and exports."""

from collections.abc import Sequence

from splitrail.split.v1 import dataset_pb2, import_pb2, version_pb2, version_service_pb2

from ...export import ExportResult
from ...references import version_reference
from ...transfer import ImportResult
from ...versions import DraftChange
from .words import Document, time_text, word


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
        "images": version.image_count if version.version_id else report.image_count - report.excluded_count,
        "unlabelled_images": version.unlabelled_count if version.version_id else None,
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
        "left_out_images": result.left_out,
        "written_files": result.written_files,
        "written_bytes": result.written_bytes,
        "version_digest": end.version_digest,
        "split_digest": end.split_digest,
        "part_digests": {"train": end.part_digests.train, "val": end.part_digests.val, "test": end.part_digests.test},
    }
