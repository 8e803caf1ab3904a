"""Rules on evaluations that need no state; all broken fields are named at once."""

from splitrail_common.ids import is_uuid

from splitrail_trainer.checks import MAXIMUM_ID, Checker
from splitrail_trainer.evaluations.domain import EvaluationRequest


def evaluation_request(wanted: EvaluationRequest, check: Checker) -> None:
    """Raises INVALID_ARGUMENT, also for what `check` knows already. The arguments are checked later, for their defaults depend on the run."""
    check.require(is_uuid(wanted.run_id), "run_id", "is not a UUID; resolve names like `cells/17` with ResolveRun")
    check.optional_uuid(wanted.split_id, "split_id")
    check.text(wanted.request_id, "request_id", MAXIMUM_ID)
    check.done()
