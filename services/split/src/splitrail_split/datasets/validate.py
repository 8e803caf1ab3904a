"""Stateless rules of requests: each breach becomes INVALID_ARGUMENT that names the field."""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, import_pb2, split_pb2, split_service_pb2
from splitrail_common import ids, paging
from splitrail_common.errors import Violation, invalid

from splitrail_split.domain.datasets import FORMATS, KINDS, PART_NAMES, Folds, GroupBy, GroupKind, Method, Pin, SourceFile, SplitParameters, Task
from splitrail_split.imports import sources
from splitrail_split.splits.algorithm.stratify import TOLERANCE, fold_ratios
from splitrail_split.versions.near import MAX_DISTANCE

MAX_FILES = 1000
MAX_REQUEST_ID = 128
MAX_METADATA_FILTERS = 16
MAX_PATTERN = 512
MAX_FOLDS = 20
MAX_RULES = 8
METHODS = {
    split_pb2.SPLIT_METHOD_UNSPECIFIED: Method.STRATIFIED,
    split_pb2.SPLIT_METHOD_STRATIFIED: Method.STRATIFIED,
    split_pb2.SPLIT_METHOD_RANDOM: Method.RANDOM,
    split_pb2.SPLIT_METHOD_HASH: Method.HASH,
}
SHA256 = re.compile(r"[0-9a-f]{64}")
NO_SHA256 = "must be 64 lower-case hexadecimal digits"


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


def dataset_name(value: str, field: str = "dataset_name") -> str:
    """A dataset's name."""
    if not ids.is_name(value):
        raise invalid(Violation(field, "must be letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit"))
    return value


def request_id(value: str) -> str:
    """The caller's identifier of a request."""
    if len(value) > MAX_REQUEST_ID or "\0" in value:
        raise invalid(Violation("request_id", f"at most {MAX_REQUEST_ID} characters, none of them NUL"))
    return value


def task(value: int) -> int:
    """What is annotated; boxes when nothing is given."""
    if value and value not in KINDS:
        raise invalid(Violation("task", f"{_name(dataset_pb2.Task, value)} is not a task"))
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


def path_prefix(value: str) -> str:
    """The beginning of paths, as a filter."""
    if len(value.encode()) > sources.MAX_PATH_BYTES or "\0" in value:
        raise invalid(Violation("path_prefix", f"at most {sources.MAX_PATH_BYTES} bytes, none of them NUL"))
    return value


def metadata_filter(values: Sequence[str]) -> dict[str, str]:
    """Metadata as a filter, each `key=value`."""
    if len(values) > MAX_METADATA_FILTERS:
        raise invalid(Violation("metadata", f"at most {MAX_METADATA_FILTERS}, not {len(values)}"))
    found: dict[str, str] = {}
    for index, one in enumerate(values):
        key, equals, value = one.partition("=")
        if not equals or not key or "\0" in one:
            raise invalid(Violation(f"metadata[{index}]", f"{one[:100]!r} is not of the form key=value"))
        if found.setdefault(key, value) != value:
            raise invalid(Violation(f"metadata[{index}]", f"{key[:100]!r} cannot have two values at once"))
    return found


def sha256(field: str, value: str) -> bytes:
    """A content's hash."""
    if not SHA256.fullmatch(value):
        raise invalid(Violation(field, NO_SHA256))
    return bytes.fromhex(value)


def page_before(request: Paged) -> tuple[int, int | None]:
    """Size and cursor of a page of numbered things, newest first."""
    key = _cursor(request, (int,))
    return paging.page_size(request.page_size), int(key[0]) if key else None


def page_after(request: Paged, first: int) -> tuple[int, int]:
    """Size and cursor of a page of numbered things, in ascending order."""
    key = _cursor(request, (int,))
    return paging.page_size(request.page_size), int(key[0]) if key else first


@dataclass(frozen=True, slots=True)
class BegunAssets:
    """A list of images of which a page has been read: the others are of the same version and split, whatever is the newest by now."""

    version_id: str
    split_id: str
    after: int


def page_of_assets(request: dataset_service_pb2.ListAssetsRequest) -> tuple[int, BegunAssets | None]:
    """Size and cursor of a page of images."""
    key = _cursor(request, (str, str, int))
    if not key:
        return paging.page_size(request.page_size), None
    version_id, split_id, after = str(key[0]), str(key[1]), int(key[2])
    asked = [(request.version_id, version_id), (request.split_id, split_id)]
    if not ids.is_uuid(version_id) or not (ids.is_uuid(split_id) or not split_id) or any(one not in ("", begun) for one, begun in asked):
        raise invalid(Violation("page_token", "not a token of an earlier response to this request"))
    return paging.page_size(request.page_size), BegunAssets(version_id, split_id, after)


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
    """Ratios in [0, 1] that add up to 1, and whatever else decides. With folds, train and val are what the number of folds makes of them."""
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
    if abs(total - 1) > TOLERANCE:
        raise invalid(Violation("parameters.ratios", f"must add up to 1, these add up to {total:g}"))
    if parameters.method not in METHODS:
        raise invalid(Violation("parameters.method", f"{_name(split_pb2.SplitMethod, parameters.method)} is not a way to split"))
    method = METHODS[parameters.method]
    if len(parameters.group_by) > MAX_RULES:
        raise invalid(Violation("parameters.group_by", f"at most {MAX_RULES} rules, not {len(parameters.group_by)}"))
    group_by = tuple(_group_by(index, one) for index, one in enumerate(parameters.group_by))
    base_split_id = optional_uuid("parameters.base_split_id", parameters.base_split_id)
    pins = tuple(_pin(index, one) for index, one in enumerate(parameters.pins))
    folds = _folds(parameters.folds) if parameters.HasField("folds") else None
    if method is Method.HASH and group_by:
        raise invalid(Violation("parameters.group_by", "the hash looks at each image alone: leave groups out, or take another method"))
    if folds:
        if base_split_id or pins or method is Method.HASH:
            raise invalid(Violation("parameters.folds", "not together with a base, pins or the hash"))
        ratios = fold_ratios(folds.count, ratios[2])
    return SplitParameters(ratios, parameters.seed, method, group_by, base_split_id, pins, folds)


def _group_by(index: int, given: split_pb2.GroupBy) -> GroupBy:
    where = f"parameters.group_by[{index}]"
    match given.WhichOneof("by"):
        case "metadata_key" if given.metadata_key and "\0" not in given.metadata_key:
            return GroupBy(GroupKind.METADATA, given.metadata_key)
        case "folder" if given.folder:
            return GroupBy(GroupKind.FOLDER)
        case "filename_pattern" if given.filename_pattern and len(given.filename_pattern) <= MAX_PATTERN:
            return GroupBy(GroupKind.FILENAME, given.filename_pattern)
        case "near_duplicate_distance" if given.near_duplicate_distance <= MAX_DISTANCE:
            return GroupBy(GroupKind.NEAR_DUPLICATES, given.near_duplicate_distance)
        case "near_duplicate_distance":
            raise invalid(Violation(f"{where}.near_duplicate_distance", f"must be 0 to {MAX_DISTANCE}, not {given.near_duplicate_distance}"))
    raise invalid(
        Violation(where, f"needs metadata_key, folder: true, filename_pattern (at most {MAX_PATTERN} characters) or near_duplicate_distance")
    )


def _pin(index: int, given: split_pb2.Pin) -> Pin:
    where = f"parameters.pins[{index}]"
    by = given.WhichOneof("asset")
    value = str(getattr(given, by)) if by else ""
    if not by or not value or "\0" in value:
        raise invalid(Violation(where, "needs one of sha256, external_id, path"))
    if by == "sha256" and not SHA256.fullmatch(value):
        raise invalid(Violation(f"{where}.sha256", NO_SHA256))
    return Pin(by, value, required_part(f"{where}.split", given.split))


def _folds(given: split_pb2.Folds) -> Folds:
    if not 2 <= given.count <= MAX_FOLDS:
        raise invalid(Violation("parameters.folds.count", f"must be 2 to {MAX_FOLDS}, not {given.count}"))
    if given.index >= given.count:
        raise invalid(Violation("parameters.folds.index", f"must be 0 to {given.count - 1}, not {given.index}"))
    return Folds(given.count, given.index)


def max_distance(request: split_service_pb2.FindLeaksRequest) -> int:
    """Bits in which perceptual hashes may differ."""
    if not request.HasField("max_distance"):
        return MAX_DISTANCE
    if request.max_distance > MAX_DISTANCE:
        raise invalid(Violation("max_distance", f"must be 0 to {MAX_DISTANCE}, not {request.max_distance}"))
    return int(request.max_distance)


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


def contents(files: Sequence[import_pb2.SourceFile]) -> dict[bytes, bytes]:
    """What came along with announced files that `source_files` has let pass, by hash."""
    return {bytes.fromhex(file.sha256): file.content for file in files if file.HasField("content") and not sources.is_ignored(file.path)}


def _file_problems(file: import_pb2.SourceFile) -> list[tuple[str, str]]:
    found = []
    if problem := sources.path_problem(file.path):
        found.append(("path", f"{file.path[:200]!r} {problem}"))
    elif file.size_bytes > sources.max_bytes(file.path):
        found.append(("size_bytes", f"{file.path!r} has {file.size_bytes} bytes: at most {sources.max_bytes(file.path)}"))
    if not SHA256.fullmatch(file.sha256):
        found.append(("sha256", NO_SHA256))
    if file.HasField("content") and (problem := _content_problem(file)):
        found.append(("content", f"{file.path[:200]!r} {problem}"))
    return found


def _content_problem(file: import_pb2.SourceFile) -> str | None:
    if not (sources.is_annotation(file.path) or sources.is_listing(file.path)) or len(file.content) > sources.MAX_INLINE_BYTES:
        return f"must be uploaded: only annotation files and lists of at most {sources.MAX_INLINE_BYTES} bytes come with their announcement"
    if len(file.content) != file.size_bytes or hashlib.sha256(file.content).hexdigest() != file.sha256:
        return "holds other bytes than `sha256` and `size_bytes` say"
    return None


def _name(enum: object, value: int) -> str:
    try:
        return str(enum.Name(value))  # type: ignore[attr-defined]  # protobuf's enum wrappers share no base type
    except ValueError:
        return str(value)
