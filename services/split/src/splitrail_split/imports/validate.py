"""Stateless rules of requests about imports: each breach becomes INVALID_ARGUMENT that names the field."""

import hashlib
from collections.abc import Sequence

from splitrail.split.v1 import import_pb2
from splitrail_common.errors import Violation, invalid

from splitrail_split.formats.images import is_image
from splitrail_split.imports import sources
from splitrail_split.imports.domain import SourceFile


def source_files(files: Sequence[import_pb2.SourceFile]) -> list[SourceFile]:
    """Announced files that are of use, one a path (the last); raises with every bad one named."""
    wrong = [
        Violation(f"files[{index}].{field}", why)
        for index, file in enumerate(files)
        for field, why in _file_problems(file)
    ]
    if wrong:
        raise invalid(*wrong)
    useful = {file.path: file for file in files if not sources.is_ignored(file.path)}
    return [
        SourceFile(path, bytes.fromhex(file.sha256), file.size_bytes, is_image(path)) for path, file in useful.items()
    ]


def contents(files: Sequence[import_pb2.SourceFile]) -> dict[bytes, bytes]:
    """What came along with announced files that `source_files` has let pass, by hash."""
    return {
        bytes.fromhex(file.sha256): file.content
        for file in files
        if file.HasField("content") and not sources.is_ignored(file.path)
    }


def _file_problems(file: import_pb2.SourceFile) -> list[tuple[str, str]]:
    found = []
    if problem := sources.path_problem(file.path):
        found.append(("path", f"{file.path[:200]!r} {problem}"))
    elif file.size_bytes > sources.max_bytes(file.path):
        found.append(
            ("size_bytes", f"{file.path!r} has {file.size_bytes} bytes: at most {sources.max_bytes(file.path)}")
        )
    if file.HasField("content") and (problem := _content_problem(file)):
        found.append(("content", f"{file.path[:200]!r} {problem}"))
    return found


def _content_problem(file: import_pb2.SourceFile) -> str | None:
    if not (sources.is_annotation(file.path) or sources.is_listing(file.path)):
        return "must be uploaded: only annotation files and lists come with their announcement"
    if len(file.content) != file.size_bytes or hashlib.sha256(file.content).hexdigest() != file.sha256:
        return "holds other bytes than `sha256` and `size_bytes` say"
    return None
