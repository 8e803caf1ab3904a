"""The JSON documents of `-o json`: ProtoJSON, as the gateway's JSON API has it, so that one shape of a dataset, a run
and the like exists everywhere.

What only the command knows stands beside a message's own fields.
"""

from collections.abc import Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from splitrail.split.v1 import dataset_pb2, import_pb2, version_pb2
from splitrail.trainer.v1 import evaluation_pb2

from ..export import ExportResult
from ..references import version_reference
from ..transfer import ImportResult
from ..versions import DraftChange
from .words import evaluation_reference

Document = dict[str, Any]


def document(message: Message, **more: Any) -> Document:
    """The message with all fields that it can have, except those whose absence says something. `more`: further keys."""
    return {**MessageToDict(message, always_print_fields_with_no_presence=True), **more}


def version(item: dataset_pb2.DatasetVersion) -> Document:
    """A version or draft, with the `reference` that the command takes."""
    return document(item, reference=version_reference(item))


def draft(item: version_pb2.Draft) -> Document:
    """A draft as a version, with the time when it was begun."""
    return {**version(item.version), "createTime": item.create_time.ToJsonString()}


def draft_change(change: DraftChange) -> Document:
    """As UpsertAssetsResponse, with what was sent."""
    return {
        "version": version(change.version),
        "addedCount": change.added,
        "changedCount": change.changed,
        "unchangedCount": change.unchanged,
        "uploadedFiles": change.uploaded_files,
        "uploadedBytes": change.uploaded_bytes,
    }


def import_report(
    report: import_pb2.Import, problems: Sequence[import_pb2.Problem], result: ImportResult | None
) -> Document:
    """An import with all of its problems; one that made a version (`result`), with its `reference` and what was sent."""
    sent = (
        {"reference": result.reference, "uploadedFiles": result.uploaded_files, "uploadedBytes": result.uploaded_bytes}
        if result
        else {}
    )
    return document(report, problems=[document(item) for item in problems], **sent)


def export_report(result: ExportResult) -> Document:
    """The end of an export, with what of it was written where."""
    return document(
        result.end,
        reference=result.reference,
        folder=str(result.folder),
        leftOutImages=result.left_out,
        writtenFiles=result.written_files,
        writtenBytes=result.written_bytes,
    )


def evaluation(item: evaluation_pb2.Evaluation) -> Document:
    """An evaluation, with the `reference` that the command takes."""
    return document(item, reference=evaluation_reference(item))
