"""Tokens: JWTs signed with ES256. Each issuer has one key and may only sign its own kinds (see ARCHITECTURE.md)."""

import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from splitrail.auth.v1 import access_pb2

from .errors import PlatformError, Reason
from .ids import new_id

AUDIENCE = "splitrail"
PLATFORM = "splitrail"
TRAINER = "splitrail-trainer"
ROLES = {"viewer": access_pb2.ROLE_VIEWER, "editor": access_pb2.ROLE_EDITOR, "admin": access_pb2.ROLE_ADMIN}
_CACHED = 4096
_LEEWAY_SECONDS = 10


class CallerKind(Enum):
    """What a caller is."""

    USER = "user"
    WORKER = "worker"
    SERVICE = "service"
    ATTEMPT = "attempt"


@dataclass(frozen=True)
class Caller:
    """Who calls, as a verified token says."""

    kind: CallerKind
    subject: str
    expires: int
    """Unix seconds."""
    roles: Mapping[str, int] = field(default_factory=dict)
    """For users: Role by project id; `*` stands for all projects."""
    project_id: str = ""
    """For attempts."""
    job_id: str = ""
    """For attempts."""
    attempt: int = 0
    """For attempts: the fencing token."""
    split_id: str = ""
    """For attempts: the only revision it may stage."""
    parts: tuple[str, ...] = ()
    """For attempts: the parts of that revision that it may stage, among train, val, test."""


def _refused(why: str) -> PlatformError:
    return PlatformError(grpc.StatusCode.UNAUTHENTICATED, Reason.ERROR_REASON_TOKEN_INVALID, f"token refused: {why}")


class Verifier:
    """Checks tokens against the public keys of the issuers; remembers what it has checked."""

    def __init__(self, keys: Mapping[str, jwt.PyJWK]) -> None:
        self._keys = dict(keys)
        self._cache: OrderedDict[str, Caller] = OrderedDict()

    @classmethod
    def from_file(cls, path: Path) -> "Verifier":
        """Reads a JWK set whose key ids are the issuers' names. Raises ValueError when it holds no ES256 key."""
        try:
            keys = jwt.PyJWKSet.from_json(path.read_text()).keys
        except (OSError, jwt.PyJWTError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a readable JWK set: {error}") from error
        return cls({key.key_id: key for key in keys if key.key_id})

    def verify(self, token: str, *, at: float | None = None) -> Caller:
        """The caller. `at` (Unix seconds) is when the token was presented, default now. Raises UNAUTHENTICATED."""
        now = time.time() if at is None else at
        caller = self._cache.get(token)
        if caller is None:
            caller = self._check(token)
            self._cache[token] = caller
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        if now > caller.expires + _LEEWAY_SECONDS:
            raise _refused("it has expired")
        return caller

    def _check(self, token: str) -> Caller:
        try:
            issuer = jwt.get_unverified_header(token).get("kid", "")
            key = self._keys.get(issuer)
            if key is None:
                raise _refused("signed by a key that we do not know")
            claims = jwt.decode(
                token,
                key,
                algorithms=["ES256"],
                audience=AUDIENCE,
                issuer=issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "sub"], "verify_exp": False},
            )
            return _caller(issuer, claims)
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from error
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise _refused("its claims are not ours") from error


def _caller(issuer: str, claims: Mapping[str, object]) -> Caller:
    """Claims as a caller; raises KeyError, TypeError or ValueError when they are malformed or the issuer may not sign
    that kind."""
    kind = CallerKind(claims["kind"])
    allowed = {
        CallerKind.USER: issuer == PLATFORM,
        CallerKind.WORKER: issuer == PLATFORM,
        CallerKind.SERVICE: issuer.startswith(f"{PLATFORM}-"),
        CallerKind.ATTEMPT: issuer == TRAINER,
    }
    if not allowed[kind]:
        raise ValueError(f"{issuer} may not sign tokens of kind {kind.value}")
    expires, subject = claims["exp"], claims["sub"]
    if not isinstance(expires, int) or not isinstance(subject, str):
        raise TypeError("exp and sub")
    if kind is CallerKind.USER:
        roles = claims["roles"]
        if not isinstance(roles, dict):
            raise TypeError("roles")
        return Caller(kind, subject, expires, roles={str(project): ROLES[role] for project, role in roles.items()})
    if kind is CallerKind.ATTEMPT:
        attempt, parts = claims["attempt"], claims["parts"]
        if not isinstance(attempt, int) or not isinstance(parts, list):
            raise TypeError("attempt and parts")
        return Caller(
            kind,
            subject,
            expires,
            project_id=str(claims["project_id"]),
            job_id=str(claims["job_id"]),
            attempt=attempt,
            split_id=str(claims["split_id"]),
            parts=tuple(str(part) for part in parts),
        )
    return Caller(kind, subject, expires)


class Signer:
    """Signs tokens with one issuer's private key."""

    def __init__(self, issuer: str, key: EllipticCurvePrivateKey) -> None:
        self._issuer = issuer
        self._key = key

    @classmethod
    def from_file(cls, issuer: str, path: Path) -> "Signer":
        """Reads a PEM file. Raises ValueError when it is not an EC private key."""
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise ValueError(f"{path} is not an EC private key")
        return cls(issuer, key)

    def sign(self, kind: CallerKind, subject: str, lifetime_seconds: int, **claims: object) -> str:
        """A token that ends after `lifetime_seconds`."""
        now = int(time.time())
        payload = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": subject,
            "kind": kind.value,
            "jti": new_id(),
            "iat": now,
            "exp": now + lifetime_seconds,
            **claims,
        }
        return jwt.encode(payload, self._key, algorithm="ES256", headers={"kid": self._issuer})

    def service_token(self) -> str:
        """A short-lived token for a call to another service."""
        return self.sign(CallerKind.SERVICE, self._issuer, 300)
