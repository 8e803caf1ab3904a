"""Stateless rules of export requests."""

from splitrail.split.v1 import export_service_pb2
from splitrail_common.errors import Violation, invalid

from splitrail_split.exports.layout import ExportRequest, Layout
from splitrail_split.requests import fields

_LAYOUTS = {
    export_service_pb2.EXPORT_FORMAT_UNSPECIFIED: Layout.YOLO,
    export_service_pb2.EXPORT_FORMAT_YOLO: Layout.YOLO,
    export_service_pb2.EXPORT_FORMAT_COCO: Layout.COCO,
}


def export_request(request: export_service_pb2.ExportVersionRequest) -> ExportRequest:
    """What is asked for. Raises INVALID_ARGUMENT that names the field."""
    if not request.split_id and not request.version_id:
        raise invalid(Violation("version_id", "or split_id is needed"))
    return ExportRequest(
        dataset_id=request.dataset_id,
        version_id=request.version_id,
        split_id=request.split_id,
        parts=tuple(
            sorted({fields.required_part(f"parts[{index}]", part) for index, part in enumerate(request.parts)})
        ),
        layout=_LAYOUTS[request.format],
        include_unlabelled=request.include_unlabelled,
        after=request.after_ordinal if request.HasField("after_ordinal") else -1,
    )
