"""Labels and metadata: what callers note about their things, text by text. The protos declare how many entries there
may be and how long a value is (`splitrail.api.v1.limits`); what they cannot declare of keys is here.
"""

from collections.abc import Mapping

from .errors import Violation

MAX_KEY = 128
_SHOWN = 100


def key_problems(field: str, entries: Mapping[str, str]) -> list[Violation]:
    """A violation for each key that is not 1 to 128 characters, named as the boundary names entries."""
    return [
        Violation(f"{field}[{key[:_SHOWN]}]", f"its key must be 1 to {MAX_KEY} characters, not {len(key)}")
        for key in entries
        if not 0 < len(key) <= MAX_KEY
    ]
