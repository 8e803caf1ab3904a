"""Tokens of strangers, expired ones and those of the wrong kind are refused; rules decide the rest."""

import base64
import hmac
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import descriptor_pb2, descriptor_pool
from splitrail.auth.v1 import access_pb2
from splitrail.metrics.v1 import metrics_service_pb2
from splitrail_common.access import RuleMissingError, Scope, authorize, rules
from splitrail_common.errors import PlatformError
from splitrail_common.limits import compiled
from splitrail_common.tokens import CallerKind, Signer, Verifier

ISSUERS = ("splitrail", "splitrail-trainer", "splitrail-metrics")
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ISSUERS}
ATTEMPT = {"project_id": "p", "job_id": "j", "attempt": 2, "split_id": "s", "parts": ["train", "val"]}


def jwk(name: str) -> dict[str, str]:
    return {
        **json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEYS[name].public_key())),
        "kid": name,
        "alg": "ES256",
        "use": "sig",
    }


@pytest.fixture
def verifier(tmp_path) -> Verifier:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk(name) for name in ISSUERS]}))
    return Verifier.from_file(path)


def signer(name: str) -> Signer:
    return Signer(name, KEYS[name])


def refused(verifier: Verifier, token: str) -> bool:
    with pytest.raises(PlatformError) as caught:
        verifier.verify(token)
    return caught.value.code is grpc.StatusCode.UNAUTHENTICATED


def test_a_user_is_known_by_roles(verifier):
    caller = verifier.verify(signer("splitrail").sign(CallerKind.USER, "ann", 60, roles={"p": "editor"}))
    assert (caller.subject, caller.roles["p"]) == ("ann", access_pb2.ROLE_EDITOR)


def test_an_attempt_carries_what_it_may_stage(verifier):
    caller = verifier.verify(signer("splitrail-trainer").sign(CallerKind.ATTEMPT, "attempt:j:2", 60, **ATTEMPT))
    assert (caller.attempt, caller.parts) == (2, ("train", "val"))


@pytest.mark.parametrize(
    ("issuer", "kind", "claims"),
    [
        ("splitrail-metrics", CallerKind.USER, {"roles": {"*": "admin"}}),
        ("splitrail-trainer", CallerKind.USER, {"roles": {"*": "admin"}}),
        ("splitrail-metrics", CallerKind.ATTEMPT, ATTEMPT),
        ("splitrail", CallerKind.ATTEMPT, ATTEMPT),
        ("splitrail", CallerKind.SERVICE, {}),
        ("splitrail-trainer", CallerKind.WORKER, {}),
        ("splitrail", CallerKind.USER, {"roles": {"*": "owner"}}),
        ("splitrail", CallerKind.USER, {}),
    ],
)
def test_a_key_signs_only_its_own_kinds(verifier, issuer, kind, claims):
    assert refused(verifier, signer(issuer).sign(kind, "x", 60, **claims))


def test_forgeries_are_refused(verifier):
    good = signer("splitrail").sign(CallerKind.USER, "ann", 60, roles={"*": "viewer"})
    head, body, tail = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    altered = base64.urlsafe_b64encode(json.dumps({**claims, "roles": {"*": "admin"}}).encode()).decode().rstrip("=")
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": "splitrail"})
    public = (
        KEYS["splitrail"]
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    symmetric_head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"splitrail"}').decode().rstrip("=")
    mac = hmac.digest(public, f"{symmetric_head}.{body}".encode(), "sha256")
    symmetric = f"{symmetric_head}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    stranger = jwt.encode(
        claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers={"kid": "splitrail"}
    )
    other_key = jwt.encode(claims, KEYS["splitrail-metrics"], algorithm="ES256", headers={"kid": "splitrail-metrics"})
    audience = jwt.encode(
        {**claims, "aud": "elsewhere"}, KEYS["splitrail"], algorithm="ES256", headers={"kid": "splitrail"}
    )
    # The right key under the right name, and a claim to be another issuer: the name of the key decides what it may
    # sign.
    another_issuer = jwt.encode(
        {**claims, "iss": "splitrail-trainer"}, KEYS["splitrail"], algorithm="ES256", headers={"kid": "splitrail"}
    )
    for token in (
        f"{head}.{altered}.{tail}",
        unsigned,
        symmetric,
        stranger,
        other_key,
        audience,
        another_issuer,
        "",
        "x",
        "a.b.c",
    ):
        assert refused(verifier, token)


def test_expiry_is_judged_at_the_time_of_presentation_also_from_the_cache(verifier):
    token = signer("splitrail").sign(CallerKind.USER, "ann", 60, roles={})
    assert verifier.verify(token).subject == "ann"
    with pytest.raises(PlatformError, match="expired"):
        verifier.verify(token, at=time.time() + 100)


@pytest.mark.parametrize("missing", ["iss", "aud", "exp", "iat", "sub", "kind"])
def test_a_token_without_one_of_its_claims_is_refused(verifier, missing):
    good = signer("splitrail").sign(CallerKind.USER, "ann", 60, roles={"*": "viewer"})
    claims = jwt.decode(good, options={"verify_signature": False})
    del claims[missing]
    assert refused(verifier, jwt.encode(claims, KEYS["splitrail"], algorithm="ES256", headers={"kid": "splitrail"}))


def access(role: int = 0, *callers: int) -> access_pb2.Access:
    return access_pb2.Access(role=role, callers=callers)


def test_scope_is_where_the_role_suffices(verifier):
    caller = verifier.verify(
        signer("splitrail").sign(CallerKind.USER, "ann", 60, roles={"a": "viewer", "b": "editor", "c": "admin"})
    )
    assert authorize(access(access_pb2.ROLE_EDITOR), caller) == Scope(frozenset({"b", "c"}))
    everywhere = verifier.verify(signer("splitrail").sign(CallerKind.USER, "root", 60, roles={"*": "admin"}))
    assert authorize(access(access_pb2.ROLE_ADMIN), everywhere).sql() is None


@pytest.mark.parametrize(
    ("rule", "issuer", "kind", "claims"),
    [
        (access(access_pb2.ROLE_ADMIN), "splitrail", CallerKind.USER, {"roles": {"a": "editor"}}),
        (access(0, access_pb2.CALLER_ATTEMPT), "splitrail", CallerKind.USER, {"roles": {"*": "admin"}}),
        (access(access_pb2.ROLE_VIEWER), "splitrail-trainer", CallerKind.SERVICE, {}),
        (access(access_pb2.ROLE_VIEWER, access_pb2.CALLER_SERVICE), "splitrail-trainer", CallerKind.ATTEMPT, ATTEMPT),
        (access(0, access_pb2.CALLER_ATTEMPT), "splitrail", CallerKind.WORKER, {}),
    ],
)
def test_default_deny(verifier, rule, issuer, kind, claims):
    caller = verifier.verify(signer(issuer).sign(kind, "x", 60, **claims))
    with pytest.raises(PlatformError) as caught:
        authorize(rule, caller)
    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED


def test_every_rpc_has_a_rule_and_limits_that_can_be_enforced():
    root = Path(metrics_service_pb2.__file__).parents[3]
    names = [".".join(path.relative_to(root).with_suffix("").parts) for path in (root / "splitrail").rglob("*_pb2.py")]
    services = [
        service for name in names for service in importlib.import_module(name).DESCRIPTOR.services_by_name.values()
    ]
    assert len(rules(services)) > 30
    assert compiled(services).keys() == rules(services).keys()


def test_an_rpc_without_a_rule_stops_the_start():
    file = descriptor_pb2.FileDescriptorProto(name="bare.proto", package="bare", syntax="proto3")
    file.message_type.add(name="M")
    file.service.add(name="S").method.add(name="Do", input_type=".bare.M", output_type=".bare.M")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    with pytest.raises(RuleMissingError, match=r"bare\.S\.Do"):
        rules([metrics_service_pb2.DESCRIPTOR.services_by_name["MetricsService"], pool.FindServiceByName("bare.S")])


def test_what_the_services_share_knows_no_service():
    """Every module of splitrail_common, in an interpreter of its own: of the protos only access, errors and limits are
    loaded."""
    program = (
        "import importlib, pkgutil, sys, splitrail_common\n"
        "for module in pkgutil.walk_packages(splitrail_common.__path__, 'splitrail_common.'): importlib.import_module(module.name)\n"
        "print(*sorted({name.split('.')[1] for name in sys.modules if name.startswith('splitrail.') and name.endswith('_pb2')}))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert loaded.split() == ["api", "auth", "errors"]
