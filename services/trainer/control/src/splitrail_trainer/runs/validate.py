"""Rules on runs that need no state; all broken fields are named at once."""

import re

from splitrail_common.errors import Violation, invalid
from splitrail_common.ids import is_name, is_uuid
from splitrail_common.labels import key_problems
from splitrail_common.training.models import DETECT_MODELS

from splitrail_trainer.arguments.resolve import Resolved, resolve_training
from splitrail_trainer.checks import Checker
from splitrail_trainer.runs.domain import RunRequest

_REFERENCE = re.compile(r"(?P<name>.+)/(?P<number>[1-9][0-9]{0,8})")


def run_request(wanted: RunRequest) -> Resolved:
    """Its arguments with the defaults. Raises INVALID_ARGUMENT."""
    check = Checker()
    resolved = resolve_training(wanted.arguments)
    check.note(*resolved.violations)
    check.require(
        wanted.model in DETECT_MODELS,
        "model",
        f"{wanted.model[:100]!r} is not known; one of {', '.join(DETECT_MODELS)}",
    )
    check.require(
        bool(wanted.data or wanted.split_id), "data", "name what to train on, for example cells@v1 (or give split_id)"
    )
    check.text(wanted.data, "data", 200)
    check.note(*key_problems("labels", wanted.labels))
    check.done()
    return resolved


def reference(value: str) -> tuple[str, int] | str:
    """`cells/17` as dataset name and number, or a UUID as it is."""
    if is_uuid(value):
        return value
    match = _REFERENCE.fullmatch(value)
    if match is None or not is_name(match["name"]):
        raise invalid(Violation("reference", f"{value[:100]!r} is neither a run_id nor like `cells/17`"))
    return match["name"], int(match["number"])
