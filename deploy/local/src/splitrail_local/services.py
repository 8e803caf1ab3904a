"""The three services and the pod: their commands, environments and health."""

import importlib.util
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from splitrail_local import nats, postgres, s3
from splitrail_local.errors import StackError
from splitrail_local.part import NotReadyError, Part
from splitrail_local.state import SERVICES, State

POD = "pod"


def environment(state: State, name: str) -> dict[str, str]:
    """The settings that a service, or the pod, reads from its environment."""
    addresses = {f"SPLITRAIL_{service.upper()}_ADDRESS": state.address(service) for service in SERVICES}
    if name == POD:
        return {
            **addresses,
            "SPLITRAIL_NATS_URL": nats.url(state, "pod"),
            "SPLITRAIL_WORKER_TOKEN_FILE": str(state.worker_token_file),
            "SPLITRAIL_POD_DIR": str(state.pod),
        }
    internal, reader, writer = (s3.credentials(state, identity) for identity in ("internal", "reader", "writer"))
    values = {
        **addresses,
        "SPLITRAIL_LISTEN": state.address(name),
        "SPLITRAIL_DATABASE_DSN": postgres.service_dsn(state, name),
        "SPLITRAIL_S3_ENDPOINT": s3.endpoint(state),
        "SPLITRAIL_S3_PUBLIC_ENDPOINT": s3.endpoint(state),
        "SPLITRAIL_S3_BUCKET": s3.BUCKET,
        "SPLITRAIL_S3_ACCESS_KEY": internal.access_key,
        "SPLITRAIL_S3_SECRET_KEY": internal.secret_key,
        "SPLITRAIL_S3_READER_ACCESS_KEY": reader.access_key,
        "SPLITRAIL_S3_READER_SECRET_KEY": reader.secret_key,
        "SPLITRAIL_S3_WRITER_ACCESS_KEY": writer.access_key,
        "SPLITRAIL_S3_WRITER_SECRET_KEY": writer.secret_key,
        "SPLITRAIL_JWKS_FILE": str(state.jwks_file),
        "SPLITRAIL_SIGNING_KEY_FILE": str(state.signing_key(f"splitrail-{name}")),
    }
    if name != "split":  # it neither publishes nor reads events
        values["SPLITRAIL_NATS_URL"] = nats.url(state, "services")
    return values


def part(state: State, name: str) -> Part:
    """A service, or the pod."""
    return Part(
        name=name,
        command=(sys.executable, "-m", f"splitrail_{name}"),
        directory=state.root,
        environment={"PYTHONUNBUFFERED": "1", **environment(state, name)},
        ready=(lambda: None) if name == POD else (lambda: _serving(state.address(name))),
        stop_seconds=30,
    )


def prepare(state: State, name: str) -> None:
    """Refuse to start what is not installed; make the pod's folder."""
    if importlib.util.find_spec(f"splitrail_{name}") is None:
        raise StackError(f"The package splitrail_{name} is not installed: run `make install`.")
    if name == POD:
        state.pod.mkdir(mode=0o700, exist_ok=True)


def _serving(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
        except grpc.RpcError as error:
            raise NotReadyError(
                f"its health check at {address} fails: {error.details() if isinstance(error, grpc.Call) else error}"
            ) from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise NotReadyError(f"it says {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}")
