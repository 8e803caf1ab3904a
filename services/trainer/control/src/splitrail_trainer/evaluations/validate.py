"""Rules on evaluations that need no state; all broken fields are named at once."""

from splitrail_trainer.checks import Checker
from splitrail_trainer.evaluations.domain import EvaluationRequest


def evaluation_request(wanted: EvaluationRequest, check: Checker) -> None:
    """Raises INVALID_ARGUMENT, also for what `check` knows already. The arguments are checked later, for their defaults depend on the run."""
    check.printable(wanted.request_id, "request_id")
    check.done()
