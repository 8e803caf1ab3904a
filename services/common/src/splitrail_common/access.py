"""Who may call what: rules from the protos, enforced in one place, default deny."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from splitrail.auth.v1 import access_pb2

from .errors import PlatformError, Reason, not_found
from .tokens import Caller, CallerKind

_CALLERS = {
    CallerKind.SERVICE: access_pb2.CALLER_SERVICE,
    CallerKind.WORKER: access_pb2.CALLER_WORKER,
    CallerKind.ATTEMPT: access_pb2.CALLER_ATTEMPT,
}
_ROLE_NAMES = {access_pb2.ROLE_VIEWER: "viewer", access_pb2.ROLE_EDITOR: "editor", access_pb2.ROLE_ADMIN: "admin"}


@dataclass(frozen=True)
class Scope:
    """The projects in which a call may act. `projects` None: all of them."""

    projects: frozenset[str] | None

    def sql(self) -> list[str] | None:
        """For queries: `(:scope::text[] IS NULL OR project_id = ANY(:scope))`."""
        return None if self.projects is None else sorted(self.projects)

    def require(self, project_id: str) -> str:
        """Returns `project_id`; raises NOT_FOUND when it is outside."""
        if self.projects is not None and project_id not in self.projects:
            raise not_found("project", project_id)
        return project_id


@dataclass(frozen=True)
class Call:
    """The call that is being served."""

    caller: Caller
    scope: Scope
    token: str
    """To forward when another service acts for this caller."""
    request_id: str


_current: ContextVar[Call] = ContextVar("splitrail_call")


def current_call() -> Call:
    """The call that this task serves; LookupError outside of one."""
    return _current.get()


@contextmanager
def serving(call: Call) -> Iterator[None]:
    """Makes `call` the current one."""
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)


class RuleMissingError(Exception):
    """A service has an RPC without an authorization rule."""


def rules(services: Sequence[ServiceDescriptor]) -> dict[str, access_pb2.Access]:
    """The rule of each RPC by its path `/package.Service/Method`. Raises RuleMissingError for an RPC that has none or
    allows nobody."""
    found: dict[str, access_pb2.Access] = {}
    for service in services:
        for method in service.methods:
            rule = method.GetOptions().Extensions[access_pb2.access]
            if not rule.role and not rule.callers:
                raise RuleMissingError(
                    f"{method.full_name} has no option (splitrail.auth.v1.access): no caller would be allowed"
                )
            found[f"/{service.full_name}/{method.name}"] = rule
    return found


def authorize(rule: access_pb2.Access, caller: Caller) -> Scope:
    """The projects in which the rule lets the caller act. Raises PERMISSION_DENIED when there is none."""
    if caller.kind is not CallerKind.USER:
        if _CALLERS[caller.kind] not in rule.callers:
            raise _denied(f"callers of kind {caller.kind.value} may not call this", "user")
        return Scope(frozenset({caller.project_id}) if caller.kind is CallerKind.ATTEMPT else None)
    if not rule.role:
        raise _denied("users may not call this", "platform")
    projects = {project for project, role in caller.roles.items() if role >= rule.role}
    if not projects:
        raise _denied(f"this needs the role {_ROLE_NAMES[rule.role]}", _ROLE_NAMES[rule.role])
    return Scope(None if "*" in projects else frozenset(projects))


def _denied(message: str, required: str) -> PlatformError:
    return PlatformError(
        grpc.StatusCode.PERMISSION_DENIED, Reason.ERROR_REASON_ROLE_MISSING, message, metadata={"required": required}
    )
