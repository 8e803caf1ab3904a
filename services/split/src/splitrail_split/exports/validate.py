"""Stateless rules of export requests."""

from splitrail.split.v1 import export_service_pb2
from splitrail_common.errors import Violation, invalid

from splitrail_split.exports.layout import ExportRequest, Layout
from splitrail_split.requests import fields


def export_request(request: export_service_pb2.ExportVersionRequest) -> ExportRequest:
    """What is asked for. Raises INVALID_ARGUMENT that names the field."""
    if request.format not in export_service_pb2.ExportFormat.values():
        raise invalid(Violation("format", f"{request.format} is not a format that can be exported"))
    split_id = fields.optional_uuid("split_id", request.split_id)
    version_id = fields.optional_uuid("version_id", request.version_id)
    return ExportRequest(
        dataset_id=fields.optional_uuid("dataset_id", request.dataset_id),
        version_id=version_id if split_id else fields.uuid("version_id", version_id),
        split_id=split_id,
        parts=tuple(sorted({fields.required_part("splits", part) for part in request.splits})),
        layout=Layout(request.format or Layout.YOLO),
        include_unlabelled=request.include_unlabelled,
        after=request.after_ordinal if request.HasField("after_ordinal") else -1,
    )
