"""The stack's signing keys, their JWKS, and the two tokens it hands out (ARCHITECTURE.md, "Tokens")."""

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from splitrail_local.state import SERVICES, State, write_private

AUDIENCE = "splitrail"
USER_ISSUER = "splitrail"
ISSUERS = (USER_ISSUER, *(f"splitrail-{service}" for service in SERVICES))
TEN_YEARS = 10 * 365 * 24 * 3600


def ensure(state: State) -> None:
    """Write what is missing: a key per issuer, the JWKS (kid = issuer), the admin's and the local worker's token."""
    public_keys = []
    for issuer in ISSUERS:
        path = state.signing_key(issuer)
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            write_private(path, pem.decode())
        public_keys.append(_public_jwk(issuer, path))
    write_private(state.jwks_file, json.dumps({"keys": public_keys}, indent=1))
    if not state.admin_token_file.exists():
        write_private(state.admin_token_file, sign_user(state, "embedded-admin", {"*": "admin"}))
    if not state.worker_token_file.exists():
        write_private(state.worker_token_file, sign(state, USER_ISSUER, {"sub": "worker:local", "kind": "worker"}))


def sign_user(state: State, subject: str, roles: Mapping[str, str], lifetime: int = TEN_YEARS) -> str:
    """A user's token. `roles`: project id or `*` -> viewer, editor or admin; `lifetime` in seconds (negative: expired)."""
    return sign(state, USER_ISSUER, {"sub": subject, "kind": "user", "roles": dict(roles)}, lifetime)


def sign(state: State, issuer: str, claims: Mapping[str, Any], lifetime: int = TEN_YEARS) -> str:
    """A JWT (ES256) with `claims`, signed by `issuer`'s key, valid for `lifetime` seconds."""
    now = int(time.time())
    whole = {"iss": issuer, "aud": AUDIENCE, "jti": str(uuid.uuid4()), "iat": now, "exp": now + lifetime, **claims}
    return jwt.encode(whole, state.signing_key(issuer).read_bytes(), algorithm="ES256", headers={"kid": issuer})


def _public_jwk(issuer: str, path: Path) -> dict[str, Any]:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} is not an elliptic curve key")
    return {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": issuer, "use": "sig", "alg": "ES256"}
