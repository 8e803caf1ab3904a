"""What Envoy itself refuses, in the form in which the services refuse: google.rpc.Status with ErrorInfo and, where it
helps, RetryInfo.
"""

import base64
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "splitrail"


@dataclass(frozen=True, slots=True)
class Reply:
    """A status of Envoy's own answers, and what it means here."""

    http_status: int
    code: int
    """google.rpc.Code by JSON."""
    reason: str
    """Of splitrail.errors.v1.ErrorReason, without its prefix."""
    text: str
    """What it means: the message of gRPC, where that of the details must be the same."""
    retry_seconds: int = 0
    """After which the same call may succeed; 0: it will not."""
    grpc_code: int | None = None
    """What Envoy makes of the HTTP status for gRPC, where that is another code."""
    json_message: str = "%LOCAL_REPLY_BODY%"
    """A format string of Envoy's: its own text, unless that says less than `text`."""

    def _status(self, code: int) -> status_pb2.Status:
        status = status_pb2.Status(code=code, message=self.text)
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN))
        if self.retry_seconds:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.seconds = self.retry_seconds
            status.details.add().Pack(retry)
        return status

    @property
    def grpc_details(self) -> str:
        """The value of the trailer grpc-status-details-bin."""
        return (
            base64.b64encode(self._status(self.code if self.grpc_code is None else self.grpc_code).SerializeToString())
            .decode()
            .rstrip("=")
        )

    @property
    def json_details(self) -> list[dict[str, Any]]:
        """The details of the status by JSON."""
        details: list[dict[str, Any]] = json_format.MessageToDict(
            self._status(self.code), always_print_fields_with_no_presence=True
        )["details"]
        return details


REPLIES = (
    Reply(
        *(400, code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", "the request cannot be read"),
        grpc_code=code_pb2.INTERNAL,
        json_message="the request cannot be read: %LOCAL_REPLY_BODY%",  # of malformed paths Envoy says nothing
    ),
    Reply(
        401,
        code_pb2.UNAUTHENTICATED,
        "TOKEN_INVALID",
        "the token is missing, malformed, expired or signed by a stranger",
    ),
    Reply(403, code_pb2.PERMISSION_DENIED, "ROLE_MISSING", "this token is not one of users"),
    Reply(404, code_pb2.NOT_FOUND, "NOT_FOUND", "no such service", grpc_code=code_pb2.UNIMPLEMENTED),
    Reply(
        *(413, code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", "the request is larger than 4 MiB"),
        grpc_code=code_pb2.UNKNOWN,
        json_message="the request is larger than 4 MiB",
    ),
    Reply(
        415,
        code_pb2.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "this path takes gRPC and gRPC-Web only",
        grpc_code=code_pb2.UNKNOWN,
    ),
    Reply(429, code_pb2.RESOURCE_EXHAUSTED, "RATE_LIMITED", "too many requests", retry_seconds=1),
    Reply(
        503,
        code_pb2.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        "a service of the platform does not answer",
        retry_seconds=1,
    ),
    Reply(
        *(
            504,
            code_pb2.DEADLINE_EXCEEDED,
            "DEPENDENCY_UNAVAILABLE",
            "a service of the platform did not answer in time",
        ),
        retry_seconds=1,
        grpc_code=code_pb2.UNAVAILABLE,
    ),
)
