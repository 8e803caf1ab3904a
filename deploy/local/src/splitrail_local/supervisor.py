"""supervisord: its configuration, and its control over XML-RPC on a private unix socket."""

import configparser
import shlex
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from splitrail_local.part import Part
from splitrail_local.state import State, write_private

MARK = "SPLITRAIL_STACK"
"""Environment variable of every process of a stack: `<stack id>:<part>`; leftovers of a killed supervisord are found by
it.
"""
USER = "splitrail"

HEADER = """\
; Written at each start. Control it with `python -m splitrail_local`.
[supervisord]
identifier = {stack_id}
nodaemon = true
logfile = {logs}/supervisord.log
logfile_maxbytes = 5MB
logfile_backups = 2
pidfile = {sockets}/supervisord.pid
directory = {root}
{user}
[unix_http_server]
file = {socket}
chmod = 0700
username = {control_user}
password = {password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

PROGRAM = """
[program:{name}]
command = {command}
directory = {directory}
environment = {environment}
{user}priority = {priority}
autostart = false
autorestart = true
startsecs = 1
startretries = 100
stopsignal = {stop_signal}
stopwaitsecs = {stop_seconds}
killasgroup = true
redirect_stderr = true
stdout_logfile = {logs}/{name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
"""


def write_configuration(state: State, parts: Sequence[Part], root_user: bool) -> None:
    """Write supervisord.conf (mode 0600: it carries passwords); it stops the parts in the reverse of their order."""
    header = HEADER.format(
        stack_id=state.record.stack_id,
        logs=_escape(str(state.logs)),
        sockets=_escape(str(state.sockets)),
        root=_escape(str(state.root)),
        socket=_escape(str(state.control_socket)),
        control_user=USER,
        password=state.secret("supervisor"),
        user="user = root\n" if root_user else "",  # said aloud, else it warns
    )
    programs = [_program(state, part, priority) for priority, part in enumerate(parts, start=1)]
    write_private(state.root / "supervisord.conf", header + "".join(programs))


@dataclass(frozen=True, slots=True)
class Identity:
    """What it takes to recognise a stack's supervisord and to speak with it."""

    stack_id: str
    password: str
    control_socket: Path


def read_identity(root: Path) -> Identity | None:
    """The identity in the supervisord.conf of a state folder; None when there is none that can be read."""
    written = configparser.RawConfigParser()
    try:
        written.read(root / "supervisord.conf")
        server = written["unix_http_server"]
        return Identity(
            written["supervisord"]["identifier"], server["password"], Path(server["file"].replace("%%", "%"))
        )
    except (configparser.Error, KeyError, UnicodeDecodeError):
        return None


def _program(state: State, part: Part, priority: int) -> str:
    environment = {**part.environment, MARK: f"{state.record.stack_id}:{part.name}"}
    if part.user is not None:
        environment |= {"USER": part.user, "LOGNAME": part.user, "HOME": str(part.directory)}
    return PROGRAM.format(
        name=part.name,
        command=_escape(shlex.join(part.command)),
        directory=_escape(str(part.directory)),
        environment=_environment(environment),
        user=f"user = {part.user}\n" if part.user is not None else "",
        priority=priority,
        stop_signal=part.stop_signal,
        stop_seconds=part.stop_seconds,
        logs=_escape(str(state.logs)),
    )


def _environment(values: Mapping[str, str]) -> str:
    """KEY="value",... ; supervisord knows no escape inside the quotes, so a value may not hold one."""
    for name, value in values.items():
        if '"' in value or not value.isprintable():
            raise ValueError(
                f"the value of {name} has a double quote or a control character, which supervisord's configuration cannot carry"
            )
    return ",".join(f'{name}="{_escape(value)}"' for name, value in values.items())


def _escape(text: str) -> str:
    """supervisord expands %(...)s in every value."""
    return text.replace("%", "%%")


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process as supervisord sees it; `state` is STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED or FATAL."""

    state: str
    pid: int
    description: str


class Control:
    """Talks to this stack's supervisord."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def _rpc(self) -> Any:
        """A new connection each time: the transport keeps a broken one for good."""
        transport = SupervisorTransport(
            USER, self._state.secret("supervisor"), serverurl=f"unix://{self._state.control_socket}"
        )
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def is_running(self) -> bool:
        """Whether supervisord answers, is this stack's, and is not shutting down."""
        try:
            return bool(
                self._rpc.getIdentification() == self._state.record.stack_id
                and self._rpc.getState()["statename"] == "RUNNING"
            )
        except (OSError, HTTPException, xmlrpc.client.Error):
            return False

    def pid(self) -> int:
        return int(self._rpc.getPID())

    def processes(self) -> dict[str, ProcessState]:
        return {
            info["name"]: ProcessState(info["statename"], info["pid"], info["description"])
            for info in self._rpc.getAllProcessInfo()
        }

    def start(self, name: str) -> None:
        """Begin to start a part, without waiting; nothing happens when it runs already."""
        if self.processes()[name].state not in ("STARTING", "RUNNING", "BACKOFF"):
            self._rpc.startProcess(name, False)

    def stop(self, name: str) -> None:
        """Begin to stop a part, if it runs, without waiting."""
        if self.processes()[name].state in ("STARTING", "RUNNING", "BACKOFF"):
            self._rpc.stopProcess(name, False)

    def shutdown(self) -> None:
        """Begin to stop every part, in the reverse of their order, and supervisord itself."""
        self._rpc.shutdown()
