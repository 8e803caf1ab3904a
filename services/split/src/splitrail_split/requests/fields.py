"""Identifiers, hashes and parts, where the protos do not declare their limits: within messages that hold more than a
request's own fields.
"""

import re

from splitrail_common import ids
from splitrail_common.errors import Violation, invalid

SHA256 = re.compile(r"[0-9a-f]{64}")
NO_SHA256 = "must be 64 lower-case hexadecimal digits"
MAX_KEY = 128


def project(value: str) -> str:
    """A project's id; the default one when nothing is given."""
    return value or ids.DEFAULT_PROJECT


def optional_uuid(field: str, value: str) -> str:
    """An identifier, or nothing."""
    if value and not ids.is_uuid(value):
        raise invalid(Violation(field, "must be a UUID, in lower case"))
    return value


def required_part(field: str, value: int) -> int:
    """A part of a split."""
    if not value:
        raise invalid(Violation(field, "is needed: PART_TRAIN, PART_VAL or PART_TEST"))
    return value


def label_keys(labels: dict[str, str]) -> dict[str, str]:
    """The caller's own bookkeeping, whose values have been checked."""
    wrong = [key for key in labels if not 0 < len(key) <= MAX_KEY]
    if wrong:
        raise invalid(*(Violation("labels", f"the key {key[:MAX_KEY]!r} must be 1 to {MAX_KEY} characters") for key in wrong))
    return labels
