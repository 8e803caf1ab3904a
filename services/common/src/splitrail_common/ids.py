"""Identifiers: UUIDv7 strings, and the syntax of what callers may name."""

import re

import uuid_utils

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
DEFAULT_PROJECT = "default"


def new_id() -> str:
    """A new UUIDv7: unique, and sorted by time of creation."""
    return str(uuid_utils.uuid7())


def is_uuid(text: str) -> bool:
    """True for a UUID in its canonical lower-case form."""
    return UUID.fullmatch(text) is not None


def is_project_id(text: str) -> bool:
    """True for a slug: lower-case letters, digits and inner hyphens, at most 40."""
    return SLUG.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """True for a dataset's name: letters, digits, '.', '_', '-', at most 64, starting with a letter or digit."""
    return NAME.fullmatch(text) is not None
