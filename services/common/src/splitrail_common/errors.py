"""Errors that callers see: a canonical code, a reason from the ErrorReason enum, and the fields concerned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from splitrail.errors.v1 import error_reason_pb2 as reasons

DOMAIN = "splitrail"
Reason = reasons.ErrorReason
# Errors travel in trailers, of which gRPC clients take 8 KB: the message percent-encoded (3 bytes for each byte beyond
# ASCII) and once more in base64, with the details. What is longer would reach them as RESOURCE_EXHAUSTED, without any
# reason.
_MESSAGE_BYTES = 1000
_VIOLATIONS_BYTES = 2000
_FIELD_BYTES = 200
_DESCRIPTION_BYTES = 600


@dataclass(frozen=True)
class Violation:
    """A field of the request and what is wrong with it."""

    field: str
    description: str


class PlatformError(Exception):
    """An error with everything that a client needs to act on it; long texts are cut, and many violations are counted."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: reasons.ErrorReason.ValueType,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        self.message = _cut(message, _MESSAGE_BYTES)
        super().__init__(self.message)
        self.code = code
        self.reason = reason
        self.metadata = {key: _cut(value, _FIELD_BYTES) for key, value in (metadata or {}).items()}
        self.violations = _fitting(violations)

    def status(self) -> status_pb2.Status:
        """As google.rpc.Status with ErrorInfo and, where fields are concerned, BadRequest."""
        info = error_details_pb2.ErrorInfo(
            reason=Reason.Name(self.reason).removeprefix("ERROR_REASON_"), domain=DOMAIN, metadata=self.metadata
        )
        details = [_packed(info)]
        if self.violations:
            bad = error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=item.field, description=item.description)
                    for item in self.violations
                ]
            )
            details.append(_packed(bad))
        number: int = self.code.value[0]
        return status_pb2.Status(code=number, message=self.message, details=details)


def _cut(text: str, size: int) -> str:
    """At most `size` bytes of UTF-8, and nothing that is not."""
    data = text.encode("utf-8", "replace")
    return (
        data.decode() if len(data) <= size else data[: size - 3].decode("utf-8", "ignore") + "\N{HORIZONTAL ELLIPSIS}"
    )


def _fitting(violations: Sequence[Violation]) -> tuple[Violation, ...]:
    """As many as can travel; the last one then says how many more there are."""
    kept: list[Violation] = []
    size = 0
    for item in violations:
        cut = Violation(_cut(item.field, _FIELD_BYTES), _cut(item.description, _DESCRIPTION_BYTES))
        size += len(cut.field.encode()) + len(cut.description.encode())
        if size > _VIOLATIONS_BYTES:
            return (*kept, Violation(cut.field, f"is wrong too, as are {len(violations) - len(kept) - 1} more"))
        kept.append(cut)
    return tuple(kept)


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def invalid(*violations: Violation) -> PlatformError:
    """INVALID_ARGUMENT that names each field."""
    text = "; ".join(f"{item.field}: {item.description}" for item in violations)
    return PlatformError(
        grpc.StatusCode.INVALID_ARGUMENT, Reason.ERROR_REASON_INVALID_FIELD, text, violations=violations
    )


def not_found(kind: str, identifier: str) -> PlatformError:
    """NOT_FOUND, also for what belongs to a project that the caller cannot see."""
    return PlatformError(
        grpc.StatusCode.NOT_FOUND,
        Reason.ERROR_REASON_NOT_FOUND,
        f"no {kind} {identifier!r}, or it is in a project that you cannot see",
        metadata={"type": kind, "id": identifier},
    )


def precondition(
    reason: reasons.ErrorReason.ValueType,
    message: str,
    *,
    metadata: Mapping[str, str] | None = None,
    field: str | None = None,
) -> PlatformError:
    """FAILED_PRECONDITION: the request is well-formed, but the state of things does not allow it."""
    violations = [Violation(field, message)] if field else []
    return PlatformError(grpc.StatusCode.FAILED_PRECONDITION, reason, message, metadata=metadata, violations=violations)


def already_exists(kind: str, name: str, field: str) -> PlatformError:
    """ALREADY_EXISTS: the name, or the external id, in this field of the request is taken."""
    return PlatformError(
        grpc.StatusCode.ALREADY_EXISTS,
        Reason.ERROR_REASON_ALREADY_EXISTS,
        f"there is a {kind} {name!r} already",
        metadata={"type": kind, "name": name},
        violations=[Violation(field, f"{name!r} is taken by another {kind}")],
    )


def etag_mismatch(etag: str) -> PlatformError:
    """ABORTED: the resource has changed since its etag was read; `etag` is the present one."""
    message = "it has changed since you read this etag: read it again, and repeat your change"
    return PlatformError(
        grpc.StatusCode.ABORTED,
        Reason.ERROR_REASON_ETAG_MISMATCH,
        message,
        metadata={"etag": etag},
        violations=[Violation("etag", message)],
    )


def project_archived(project_id: str) -> PlatformError:
    """FAILED_PRECONDITION: an archived project can only be read."""
    return precondition(
        Reason.ERROR_REASON_PROJECT_ARCHIVED,
        f"the project {project_id!r} is archived and can only be read: unarchive it first",
        metadata={"project_id": project_id},
    )


def cursor_out_of_range(incarnation: str, last_seq: int) -> PlatformError:
    """OUT_OF_RANGE: the cursor is not one of the feed's present incarnation, whose last event is `last_seq`."""
    return PlatformError(
        grpc.StatusCode.OUT_OF_RANGE,
        Reason.ERROR_REASON_CURSOR_OUT_OF_RANGE,
        "the feed as it is now has no such cursor (it may have been restored from a backup): forget what you have read and start from 0",
        metadata={"incarnation": incarnation, "last_seq": str(last_seq)},
    )


def fenced(attempt: int, current: int) -> PlatformError:
    """ABORTED: a later attempt has taken over."""
    return PlatformError(
        grpc.StatusCode.ABORTED,
        Reason.ERROR_REASON_ATTEMPT_FENCED,
        f"attempt {attempt} was overtaken by attempt {current}, or its job has ended: stop",
        metadata={"attempt": str(attempt), "current_attempt": str(current)},
    )


def unavailable(what: str) -> PlatformError:
    """UNAVAILABLE: something that we need does not answer; safe to retry."""
    return PlatformError(
        grpc.StatusCode.UNAVAILABLE,
        Reason.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
        f"{what} does not answer at the moment; try again",
    )


def internal() -> PlatformError:
    """INTERNAL without any detail: the log has it."""
    return PlatformError(
        grpc.StatusCode.INTERNAL,
        Reason.ERROR_REASON_INTERNAL,
        "a defect on our side; the service's log has the detail under this request id",
    )
