"""Identifiers, names, hashes and parts."""

import re

from splitrail_common import ids
from splitrail_common.errors import Violation, invalid

from splitrail_split.domain.parts import PART_NAMES

MAX_REQUEST_ID = 128
SHA256 = re.compile(r"[0-9a-f]{64}")
NO_SHA256 = "must be 64 lower-case hexadecimal digits"


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


def sha256(field: str, value: str) -> bytes:
    """A content's hash."""
    if not SHA256.fullmatch(value):
        raise invalid(Violation(field, NO_SHA256))
    return bytes.fromhex(value)


def enum_name(enum: object, value: int) -> str:
    """What a number of an enum is called in messages: its name, or the number when the enum has none of it."""
    try:
        return str(enum.Name(value))  # type: ignore[attr-defined]  # protobuf's enum wrappers share no base type
    except ValueError:
        return str(value)
