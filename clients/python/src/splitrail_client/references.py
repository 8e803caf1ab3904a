"""Parsing what people write: dataset names, `cells/17`, `cells/17/eval/2`, ratios, and `key=value` arguments."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from google.protobuf import struct_pb2
from splitrail.split.v1 import dataset_pb2, split_pb2

from .errors import UsageError
from .source import is_one_file, without_ending
from .vocabulary import METHODS, PARTS, TASKS, word

Scalar = str | float | bool | None
"""Value of a training argument; int counts as float."""
_EVALUATION = re.compile(r"^(?P<run>.+)/eval/(?P<number>[1-9][0-9]*)$")
_INTEGER = re.compile(r"^[+-]?[0-9]+$")
_NUMBER = re.compile(
    r"^[+-]?([0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?|inf|infinity|nan)$", re.IGNORECASE
)
_EXACT = 2**53  # beyond it, protobuf's Value cannot hold an integer
_WORDS: Mapping[str, Scalar] = {"true": True, "false": False, "none": None, "null": None}
_TOLERANCE = 1e-6 * (1 + 1e-9)  # as the service has it


def version_reference(version: dataset_pb2.DatasetVersion) -> str:
    """`cells@v3`; of a draft, which has no number, its version_id."""
    return f"{version.dataset_name}@v{version.number}" if version.number else version.version_id


def import_request_id(project: str, dataset: str, manifest_digest: str, *, strict: bool, dry_run: bool) -> str:
    """The request_id of an import, equal for the same source, dataset and options: running an import again resumes it."""
    parts = "\n".join([project, dataset, manifest_digest, f"strict={strict}", f"dry_run={dry_run}"])
    return "import-" + hashlib.sha256(parts.encode()).hexdigest()


def task_value(name: str) -> dataset_pb2.Task.ValueType:
    """The enum of `detect`, `segment`, `pose`, `obb` or `classify`. Raises UsageError."""
    if name not in TASKS:
        raise UsageError(f"{name!r} is not a task: use {', '.join(TASKS)}")
    return TASKS[name]


def dataset_name(folder: Path) -> str:
    """A dataset's name from that of a folder or archive: characters that are not allowed become '-', and are dropped at
    the start.

    Raises UsageError when nothing is left.
    """
    own = folder.absolute()
    name = (
        re.sub(r"[^A-Za-z0-9_.-]+", "-", without_ending(own.name) if is_one_file(own) else own.name)
        .strip("-.")
        .lstrip("-._")[:64]
    )
    if not name:
        raise UsageError(f"no dataset name can be made of the name {own.name!r}: give one with --name")
    return name


@dataclass(frozen=True)
class EvaluationReference:
    """`cells/17/eval/2` parsed."""

    run: str
    number: int


def parse_evaluation_reference(text: str) -> EvaluationReference | None:
    """The parts of `cells/17/eval/2`, or None when `text` is something else (a UUID)."""
    match = _EVALUATION.match(text)
    return EvaluationReference(match["run"], int(match["number"])) if match else None


def part_value(name: str) -> dataset_pb2.Part.ValueType:
    """The enum of `train`, `val` or `test`. Raises UsageError."""
    if name not in PARTS:
        raise UsageError(f"{name!r} is not a part of a split: use train, val or test")
    return PARTS[name]


def part_name(value: dataset_pb2.Part.ValueType) -> str:
    """`train`, `val` or `test`; a dash for none."""
    return word(dataset_pb2.Part, value) or "–"


def split_ratios(values: Sequence[float]) -> split_pb2.SplitRatios:
    """Train, val and test as the message. Raises UsageError unless they are three fractions that add up to 1."""
    if len(values) != 3:
        raise UsageError(f"ratios are three numbers, for train, val and test (0.7,0.15,0.15); got {len(values)}")
    if not all(0 <= value <= 1 for value in values) or abs(math.fsum(values) - 1) > _TOLERANCE:
        raise UsageError(
            f"ratios are numbers from 0 to 1 that add up to 1 (0.7,0.15,0.15); got {','.join(f'{value:g}' for value in values)}"
        )
    return split_pb2.SplitRatios(train=values[0], val=values[1], test=values[2])


def parse_ratios(text: str) -> tuple[float, ...]:
    """`0.7,0.15,0.15` as numbers. Raises UsageError."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"ratios must be numbers like 0.7,0.15,0.15; got {text!r}") from None


class SplitOptions(TypedDict, total=False):
    """Options of a split besides its ratios."""

    seed: int
    method: str
    """stratified (the default), random or hash."""
    group_by: Sequence[str]
    """Rules: images that are equal by one of them stay in one part. See `group_by`."""
    base: str
    """A revision (`cells@v1#2`) of an earlier version whose images keep their parts."""
    pins: Mapping[str, str]
    """Path -> train, val or test: images whose part is fixed."""
    folds: tuple[int, int]
    """(count, index): one fold of a cross-validation. It does not become the current split."""


def split_method(name: str) -> split_pb2.SplitMethod.ValueType:
    """The enum of `stratified`, `random` or `hash`. Raises UsageError."""
    if name not in METHODS:
        raise UsageError(f"{name!r} is not a split method: use {', '.join(METHODS)}")
    return METHODS[name]


def method_name(value: split_pb2.SplitMethod.ValueType) -> str:
    """`stratified`, `random`, `hash` or `imported`."""
    return word(split_pb2.SplitMethod, value)


def group_by(rule: str) -> split_pb2.GroupBy:
    """`folder`, `metadata:site`, `name:^(.+)_` (a regular expression) or `near:4` (bits) as the message. Raises
    UsageError.
    """
    kind, _, value = rule.partition(":")
    if rule == "folder":
        return split_pb2.GroupBy(folder=True)
    if kind == "metadata" and value:
        return split_pb2.GroupBy(metadata_key=value)
    if kind == "name" and value:
        return split_pb2.GroupBy(filename_pattern=value)
    if kind == "near" and value.isdecimal() and len(value) < 4:
        return split_pb2.GroupBy(near_duplicate_distance=int(value))
    raise UsageError(f"{rule!r} is not a grouping rule: use folder, metadata:KEY, name:PATTERN or near:BITS")


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """`["epochs=20", ...]` by name. Raises UsageError for a word without '=' or a name given twice."""
    found: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"{assignment!r} is not of the form name=value")
        if name in found:
            raise UsageError(f"{name} is given twice")
        found[name] = value
    return found


def parse_value(text: str) -> Scalar:
    """The value that a word means: True/False, None, a number (NaN and infinities too), or the text itself.

    Names and values are validated by the service, not here.
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.match(text):
        return int(text) if abs(int(text)) <= _EXACT else text
    return float(text) if _NUMBER.match(text) else text


def to_values(arguments: Mapping[str, Any]) -> dict[str, struct_pb2.Value]:
    """Arguments as protobuf values. Raises UsageError for a value of another type than str, int, float, bool and None."""
    return {name: _to_value(name, value) for name, value in arguments.items()}


def _to_value(name: str, value: Any) -> struct_pb2.Value:
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    raise UsageError(f"{name}: a {type(value).__name__} cannot be sent; use a string, a number, True, False or None")


def from_value(value: struct_pb2.Value) -> Scalar:
    """The Python value; whole numbers as int."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return int(value.number_value) if value.number_value.is_integer() else value.number_value
    if kind == "bool_value":
        return value.bool_value
    return value.string_value if kind == "string_value" else None
