"""Imports as protos. Requests are checked in validate.py."""

from splitrail.split.v1 import dataset_pb2, import_pb2

from splitrail_split.contents.convert import timestamp
from splitrail_split.datasets.convert import version
from splitrail_split.formats import Format
from splitrail_split.imports.domain import Finding, ImportState, ImportView

FORMATS = {format_: import_pb2.SourceFormat.Value(f"SOURCE_FORMAT_{format_.name}") for format_ in Format}


_FORMAT_OF = {number: format_ for format_, number in FORMATS.items()}


def source_format(value: import_pb2.SourceFormat.ValueType) -> Format | None:
    """The format that a request names; None: to be detected."""
    return _FORMAT_OF.get(value)


def import_state(value: import_pb2.ImportState.ValueType) -> ImportState | None:
    """The state that a request filters by; None: all."""
    return ImportState(import_pb2.ImportState.Name(value).removeprefix("IMPORT_STATE_")) if value else None


def problem(found: Finding) -> import_pb2.Problem:
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


def dataset_import(view: ImportView) -> import_pb2.Import:
    """An import with its report, as far as there is one."""
    found = view.found
    return import_pb2.Import(
        import_id=found.import_id,
        project_id=found.project_id,
        dataset_name=found.dataset_name,
        state=import_pb2.ImportState.Value(f"IMPORT_STATE_{found.state}"),
        format=FORMATS[found.format] if found.format else import_pb2.SOURCE_FORMAT_UNSPECIFIED,
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
        task=dataset_pb2.Task.ValueType(found.task),
        strict=found.strict,
        dry_run=found.dry_run,
        start_time=timestamp(found.start_time),
        end_time=timestamp(found.end_time),
    )
