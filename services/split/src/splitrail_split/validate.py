"""Stateless rules of requests: each breach becomes INVALID_ARGUMENT that names the field."""

import math
import re
from collections.abc import Sequence
from typing import Protocol

from splitrail.split.v1 import dataset_pb2, import_pb2, split_pb2
from splitrail_common import ids, paging
from splitrail_common.errors import Violation, invalid

from splitrail_split import sources
from splitrail_split.domain import FORMATS, PART_NAMES, SourceFile, SplitParameters, Task

MAX_FILES = 1000
MAX_REQUEST_ID = 128
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TOLERANCE = 1e-6


class Paged(Protocol):
    """A request for a page."""

    page_size: int
    page_token: str


def uuid(field: str, value: str) -> str:
    """An identifier."""
    if not ids.is_uuid(value):
        raise invalid(Violation(field, f"must be a UUID, not {value!r}" if value else "is needed"))
    return value


def optional_uuid(field: str, value: str) -> str:
    """An identifier, or nothing."""
    return uuid(field, value) if value else ""


def project(value: str) -> str:
    """A project's id; the default one when nothing is given."""
    if value and not ids.is_project_id(value):
        raise invalid(Violation("project_id", "must be lower-case letters, digits and inner hyphens, at most 40"))
    return value or ids.DEFAULT_PROJECT


def optional_project(value: str) -> str:
    """A project's id as a filter."""
    return project(value) if value else ""


def dataset_name(value: str) -> str:
    """A dataset's name."""
    if not ids.is_name(value):
        raise invalid(Violation("dataset_name", "must be letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit"))
    return value


def request_id(value: str) -> str:
    """The caller's identifier of a request."""
    if len(value) > MAX_REQUEST_ID or "\0" in value:
        raise invalid(Violation("request_id", f"at most {MAX_REQUEST_ID} characters, none of them NUL"))
    return value


def task(value: int) -> int:
    """What is annotated; boxes when nothing is given."""
    if value not in (0, Task.DETECT):
        raise invalid(Violation("task", f"{_name(dataset_pb2.Task, value)} is not supported: only TASK_DETECT is"))
    return value or Task.DETECT


def source_format(value: int) -> int:
    """A layout that can be parsed; 0 to detect it."""
    if value and value not in FORMATS:
        raise invalid(Violation("format", f"{_name(import_pb2.SourceFormat, value)} is not a format that can be imported"))
    return value


def part(field: str, value: int) -> int:
    """A part of a split; 0 for none."""
    if not 0 <= value <= len(PART_NAMES):
        raise invalid(Violation(field, f"{value} is not train, val or test"))
    return value


def required_part(field: str, value: int) -> int:
    """A part of a split."""
    if not value:
        raise invalid(Violation(field, "is needed: SPLIT_TRAIN, SPLIT_VAL or SPLIT_TEST"))
    return part(field, value)


def label_state(value: int) -> int:
    """A label state as a filter; 0 for all."""
    if value not in dataset_pb2.LabelState.values():
        raise invalid(Violation("label_state", f"{value} is not a label state"))
    return value


def page_before(request: Paged) -> tuple[int, int | None]:
    """Size and cursor of a page of numbered things, newest first."""
    key = _cursor(request, (int,))
    return paging.page_size(request.page_size), int(key[0]) if key else None


def page_after(request: Paged, first: int) -> tuple[int, int]:
    """Size and cursor of a page of numbered things, in ascending order."""
    key = _cursor(request, (int,))
    return paging.page_size(request.page_size), int(key[0]) if key else first


def page_before_id(request: Paged) -> tuple[int, str | None]:
    """Size and cursor of a page of things with ids, newest first."""
    key = _cursor(request, (str,))
    if key and not ids.is_uuid(str(key[0])):
        raise invalid(Violation("page_token", "not a token of an earlier response"))
    return paging.page_size(request.page_size), str(key[0]) if key else None


def _cursor(request: Paged, kinds: tuple[type, ...]) -> list[str | int] | None:
    key = paging.decode(request.page_token, kinds)
    if key and any(isinstance(one, int) and not -1 <= one < 2**31 for one in key):
        raise invalid(Violation("page_token", "not a token of an earlier response"))
    return key


def split_parameters(parameters: split_pb2.SplitParameters) -> SplitParameters:
    """Ratios in [0, 1] that add up to 1."""
    if not parameters.HasField("ratios"):
        raise invalid(Violation("parameters.ratios", "is needed: fractions of train, val and test, for example 0.7, 0.15, 0.15"))
    given = parameters.ratios
    ratios = (given.train, given.val, given.test)
    wrong = [
        Violation(f"parameters.ratios.{name}", f"must be a number from 0 to 1, not {ratio:g}")
        for name, ratio in zip(PART_NAMES, ratios, strict=True)
        if not 0 <= ratio <= 1  # NaN is neither
    ]
    if wrong:
        raise invalid(*wrong)
    total = math.fsum(ratios)
    if abs(total - 1) > _TOLERANCE:
        raise invalid(Violation("parameters.ratios", f"must add up to 1, these add up to {total:g}"))
    return SplitParameters(ratios, parameters.seed, parameters.stratify)


def source_files(files: Sequence[import_pb2.SourceFile]) -> list[SourceFile]:
    """Announced files that are of use, one a path (the last); raises with every bad one named."""
    if not files:
        raise invalid(Violation("files", "is empty"))
    if len(files) > MAX_FILES:
        raise invalid(Violation("files", f"at most {MAX_FILES} in one request, not {len(files)}"))
    wrong = [Violation(f"files[{index}].{field}", why) for index, file in enumerate(files) for field, why in _file_problems(file)]
    if wrong:
        raise invalid(*wrong)
    useful = {file.path: file for file in files if not sources.is_ignored(file.path)}
    return [SourceFile(path, bytes.fromhex(file.sha256), file.size_bytes, sources.is_image(path)) for path, file in useful.items()]


def _file_problems(file: import_pb2.SourceFile) -> list[tuple[str, str]]:
    found = []
    if problem := sources.path_problem(file.path):
        found.append(("path", f"{file.path[:200]!r} {problem}"))
    elif file.size_bytes > sources.max_bytes(file.path):
        found.append(("size_bytes", f"{file.path!r} has {file.size_bytes} bytes: at most {sources.max_bytes(file.path)}"))
    if not _SHA256.fullmatch(file.sha256):
        found.append(("sha256", "must be 64 lower-case hexadecimal digits"))
    return found


def _name(enum: object, value: int) -> str:
    try:
        return str(enum.Name(value))  # type: ignore[attr-defined]  # protobuf's enum wrappers share no base type
    except ValueError:
        return str(value)
