"""The errors of this client, one class for each exit code of the `splitrail` command."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from splitrail.split.v1 import import_pb2

E = TypeVar("E", bound=Exception)
UNREACHABLE_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
BROKEN_CODES = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
"""Without an ErrorInfo reason, gRPC reports a broken connection with these codes."""
REFUSAL_CODES = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.ABORTED,  # the dataset has a newer version than the draft's base
    }
)


@dataclass(frozen=True)
class Violation:
    """An invalid field of the request and what is wrong with it."""

    field: str
    description: str


class SplitrailError(Exception):
    """Any error of this client. `exit_code` is the exit code of the command; 1 means that the platform failed."""

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        """The canonical code, when a service answered."""
        self.reason = reason
        """A name of `splitrail.errors.v1.ErrorReason` without its prefix; branch on this, never on the message."""
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.hint = ""
        """What the user can do about it, if known."""

    def sentences(self, called: Callable[[str], str] = str) -> list[str]:
        """For display: one sentence for each invalid field, or the message. `called`: field -> the name to show."""
        return [f"{called(item.field)}: {item.description}" for item in self.violations] or [self.message]


class JobFailedError(SplitrailError):
    """A run or an evaluation ended in failure or was cancelled."""

    exit_code = 1


class ImportFailedError(SplitrailError):
    """An import failed or was cancelled; `report` holds its problems. With problems, the data was refused; without, the
    import itself failed.
    """

    def __init__(self, message: str, report: import_pb2.Import) -> None:
        super().__init__(message)
        self.report = report
        self.exit_code = 3 if report.problem_count else 1


class UsageError(SplitrailError):
    """The caller's input is invalid: a folder that does not exist or has no images, ratios that do not add up to 1, no
    address.
    """

    exit_code = 2


class RefusedError(SplitrailError):
    """A service refused the request; `code`, `reason` and `violations` say why."""

    exit_code = 3


class UnreachableError(SplitrailError):
    """The gateway, a service or the object store does not answer."""

    exit_code = 4


def first_error(group: BaseExceptionGroup[E]) -> E:
    """The first error of several that were raised together."""
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error


def from_rpc(error: grpc.aio.AioRpcError, url: str) -> SplitrailError:
    """The error of a call to the gateway at `url`, with reason, metadata and violations from its details."""
    code, text = error.code(), error.details() or error.code().name
    reason, metadata, violations = "", {}, []
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            violations = [Violation(item.field, item.description) for item in bad.field_violations]
    kind: type[SplitrailError] = SplitrailError
    if code in UNREACHABLE_CODES:
        kind = UnreachableError
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            text = f"{url} did not answer in time"
        elif not reason:  # from the gateway or the network, not from a service
            text = f"{url} cannot be reached ({text.rpartition(': ')[2]})"  # the rest repeats the address in gRPC's own words
    elif code in BROKEN_CODES and not reason:  # a service's own INTERNAL has a reason
        kind, text = UnreachableError, f"{url} broke the connection"
    elif code in REFUSAL_CODES:
        kind = RefusedError
        if code is grpc.StatusCode.UNAUTHENTICATED:
            text = f"{url} does not accept the token: {text}"
    return kind(text, code=code, reason=reason, metadata=metadata, violations=violations)
