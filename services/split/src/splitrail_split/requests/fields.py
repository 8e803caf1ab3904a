"""Defaults, and rules that the protos cannot declare: of hashes in a oneof, of items of lists, of keys of maps."""

import re
from collections.abc import Mapping

from splitrail_common import ids
from splitrail_common.errors import Violation, invalid
from splitrail_common.labels import key_problems

SHA256 = re.compile(r"[0-9a-f]{64}")
NO_SHA256 = "must be 64 lower-case hexadecimal digits"


def project(value: str) -> str:
    """A project's id; the default one when nothing is given."""
    return value or ids.DEFAULT_PROJECT


def required_part(field: str, value: int) -> int:
    """A part of a split."""
    if not value:
        raise invalid(Violation(field, "is needed: PART_TRAIN, PART_VAL or PART_TEST"))
    return value


def labels(entries: Mapping[str, str]) -> dict[str, str]:
    """The caller's own bookkeeping."""
    if wrong := key_problems("labels", entries):
        raise invalid(*wrong)
    return dict(entries)
