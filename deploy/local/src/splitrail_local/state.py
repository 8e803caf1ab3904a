"""The state folder: where everything of one embedded stack lies, and what is chosen once (secrets, ports, folders)."""

import dataclasses
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from splitrail_local import ports
from splitrail_local.errors import DamagedRecordError, StackError

SERVICES = ("split", "trainer", "metrics")
"""The services that listen, have a database each and a signing key each."""

SECRET_NAMES = (
    "postgres.superuser",
    *(f"postgres.{service}" for service in SERVICES),
    "nats.services",
    "nats.pod",
    *(f"s3.{identity}.{part}" for identity in ("internal", "reader", "writer") for part in ("access", "secret")),
    *(f"weed.{name}" for name in ("signing", "signing.read", "filer_signing", "filer_signing.read", "admin")),
    "supervisor",
)

PORT_NAMES = (
    "postgres",
    "nats",
    "nats_monitor",
    "s3",
    *(f"weed_{name}" for name in ("s3_grpc", "admin", "admin_grpc", "metrics", "master", "master_grpc")),
    *(f"weed_{name}" for name in ("volume", "volume_grpc", "filer", "filer_grpc")),
    *SERVICES,
)

SOCKET_PATH_LIMIT = 92
"""Longest folder + name of a unix socket, in bytes. Linux takes 107 and macOS 103; supervisord first binds
`<name>.<pid>`.
"""

UNQUOTABLE = frozenset("\"';#%\\")
"""Characters that supervisord's configuration cannot carry in a path, whatever the quoting."""


@dataclasses.dataclass(slots=True)
class Record:
    """What a stack remembers between starts; stored as `stack.json`, mode 0600."""

    stack_id: str
    secrets: dict[str, str]
    ports: dict[str, int] = dataclasses.field(default_factory=dict)
    gateway_port: int | None = None
    socket_folder: str | None = None
    postgres_folder: str | None = None
    postgres_initialised: bool = False


class State:
    """One state folder. Creating the object creates the folder (mode 0700) and, at the first time, its secrets."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        bad = sorted({c for c in str(self.root) if c in UNQUOTABLE or not c.isprintable()})
        if bad:
            raise StackError(
                f"The state folder {str(self.root)!r} has {' '.join(map(repr, bad))} in its path, which supervisord cannot be told: "
                "name another folder in SPLITRAIL_STATE."
            )
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self.root.stat().st_uid
        if owner != os.geteuid():
            raise StackError(
                f"The state folder {self.root} belongs to user {owner} and you are user {os.geteuid()}: "
                "run as that user, or name another folder in SPLITRAIL_STATE."
            )
        self.record = self._load()

    @property
    def _record_file(self) -> Path:
        return self.root / "stack.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def jwks_file(self) -> Path:
        return self.keys / "jwks.json"

    @property
    def admin_token_file(self) -> Path:
        return self.root / "tokens" / "admin.jwt"

    @property
    def worker_token_file(self) -> Path:
        return self.root / "tokens" / "worker.jwt"

    @property
    def client_file(self) -> Path:
        return self.root / "client.json"

    @property
    def pod(self) -> Path:
        return self.root / "pod"

    @property
    def descriptor_set(self) -> Path:
        return self.root / "splitrail.binpb"

    @property
    def sockets(self) -> Path:
        """The folder of the control sockets (mode 0700); made by `ensure_sockets`."""
        if self.record.socket_folder is None:
            return self.root / "run"
        return Path(self.record.socket_folder)

    @property
    def control_socket(self) -> Path:
        return self.sockets / "supervisor.sock"

    @property
    def admin_socket(self) -> Path:
        return self.sockets / "envoy.sock"

    def signing_key(self, issuer: str) -> Path:
        return self.keys / f"{issuer}.pem"

    def port(self, name: str) -> int:
        return self.record.ports[name]

    def secret(self, name: str) -> str:
        return self.record.secrets[name]

    def address(self, service: str) -> str:
        """host:port of a service."""
        return f"127.0.0.1:{self.port(service)}"

    @property
    def gateway_url(self) -> str:
        if self.record.gateway_port is None:
            raise StackError(f"The stack in {self.root} has no gateway port yet: start it with `make up`.")
        return f"http://127.0.0.1:{self.record.gateway_port}"

    @property
    def page_address(self) -> str:
        """The web page with the embedded administrator's token, which the page takes out of the address and keeps for
        its session.
        """
        return f"{self.gateway_url}/#token={self.admin_token_file.read_text().strip()}"

    def ensure_sockets(self) -> None:
        """Make the sockets' folder: in the state folder, or in a private temporary one when that path is too long for a
        socket.
        """
        inside = self.root / "run"
        if len(os.fsencode(inside / "supervisor.sock")) <= SOCKET_PATH_LIMIT:
            inside.mkdir(mode=0o700, exist_ok=True)
            self.record.socket_folder = None
        elif self.record.socket_folder is None or not Path(self.record.socket_folder).is_dir():  # a reboot empties /tmp
            self.record.socket_folder = tempfile.mkdtemp(prefix="splitrail-")
        self.save()

    def settle_ports(self, wanted: Mapping[str, int]) -> None:
        """Settle the internal ports: the `wanted` ones, else the remembered ones, else free ones.

        A wanted one that is in use is refused; a remembered one that another program has taken since is chosen anew.
        """
        users = {} if self.record.gateway_port is None else {self.record.gateway_port: "the gateway"}
        for name, port in wanted.items():
            if port in users or not ports.is_free(port):
                why = f"that of {users[port]}" if port in users else "in use"
                raise StackError(
                    f"Port {port}, where {name} should listen, is {why}: choose another with {port_variable(name)}=<port>."
                )
            users[port] = name
        taken = {*self.record.ports.values(), *users}
        for name in PORT_NAMES:
            remembered = self.record.ports.get(name)
            if name in wanted:
                self.record.ports[name] = wanted[name]
            elif remembered is None or remembered in users or not ports.is_free(remembered):
                self.record.ports[name] = ports.choose_free(exclude=taken)
                taken.add(self.record.ports[name])
        self.save()

    def settle_gateway_port(self, wanted: int | None) -> None:
        """Settle the gateway's port: `wanted` (0: any free one), else the remembered one, else 8080; refuse one that is
        in use.
        """
        port = self.record.gateway_port
        if wanted == 0:
            if port is None or not ports.is_free(port):
                port = ports.choose_free(exclude=set(self.record.ports.values()))
        elif wanted is not None:
            port = wanted
        elif port is None:
            port = 8080
        if not ports.is_free(port):
            raise StackError(
                f"Port {port}, where the gateway should listen, is in use: "
                "choose another with SPLITRAIL_PORT=<port>, or SPLITRAIL_PORT=0 for a free one."
            )
        self.record.gateway_port = port
        self.save()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder's lock, so that two starts or stops at once take turns."""
        with open(self.root / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def save(self) -> None:
        write_private(self._record_file, json.dumps(dataclasses.asdict(self.record), indent=1))

    def reload(self) -> None:
        """Read again what another process may have changed while this one waited for the lock."""
        self.record = self._load()

    def _load(self) -> Record:
        if not self._record_file.exists():
            with self.lock():
                if not self._record_file.exists():
                    self.record = Record(
                        stack_id=secrets.token_hex(8), secrets={name: secrets.token_hex(20) for name in SECRET_NAMES}
                    )
                    self.save()
        try:
            return Record(**json.loads(self._record_file.read_text()))
        except (ValueError, TypeError) as error:
            raise DamagedRecordError(
                f"{self._record_file} is damaged ({error}): remove this state with `make clean-state`."
            ) from error


def port_variable(name: str) -> str:
    """The environment variable that chooses the port of one of PORT_NAMES."""
    return f"SPLITRAIL_{name.upper()}_PORT"


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text` atomically, readable by its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
