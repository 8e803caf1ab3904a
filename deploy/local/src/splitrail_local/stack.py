"""Start, look at and stop one embedded stack."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from splitrail_local import envoy, keys, leftovers, nats, postgres, s3, services
from splitrail_local.errors import StackError
from splitrail_local.part import NotReadyError, Part
from splitrail_local.state import SERVICES, State, write_private
from splitrail_local.supervisor import MARK, Control, ProcessState, write_configuration

SERVERS = ("postgres", "nats", "s3log", "s3")
PARTS = (*SERVERS, *SERVICES, "pod", "envoy")
"""Every part in the order of their start."""

STOP_ORDER = (("envoy", "pod"), SERVICES, ("postgres", "nats", "s3"), ("s3log",))
"""Parts of a group stop together: the pod hands its lease back while the services still answer, they finish while the
servers do, and the access log ends after what it logs.
"""

FOREIGN = ("PG", "AWS_", "WEED_", "S3_", "NATS_")
"""Settings of the same programs elsewhere, which the caller's shell may carry and the stack must not inherit."""

START_SECONDS = 120.0
STOP_SECONDS = 120.0
POLL_SECONDS = 0.05
TAIL_LINES = 30
TAIL_COLUMNS = 400


class Stack:
    """The embedded stack in one state folder."""

    def __init__(self, root: Path, environment: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """`environment`: part -> variables that it gets besides the usual ones (tests name failure points so)."""
        self.state = State(root)
        self._extra = environment or {}

    def up(
        self,
        only: Collection[str] | None = None,
        gateway_port: int | None = None,
        internal_ports: Mapping[str, int] | None = None,
        say: Callable[[str], None] = lambda _: None,
        die_with_caller: bool = False,
    ) -> bool:
        """Start the parts (`only` these, else all) and wait until each is healthy; False when all of them ran already.

        `gateway_port`: 0 takes a free one, None the remembered one or 8080. `internal_ports`: those of PORT_NAMES that
        are not left to chance. `die_with_caller` (Linux): the stack stops when this thread ends. When a part fails,
        what this call started is stopped again and StackError carries the tail of its log.
        """
        names = _chosen(only)
        with self.state.lock():
            self.state.reload()
            control = Control(self.state)
            running = control.is_running()
            if running:
                missing = [name for name in names if control.processes()[name].state != "RUNNING"]
                for name, port in (internal_ports or {}).items():
                    if port != self.state.port(name):
                        say(f"{name} keeps its port {self.state.port(name)} until the stack is stopped")
            else:
                missing = names
                orphans = leftovers.stop(self.state.record.stack_id)
                if orphans:
                    say(f"stopped what a killed supervisord had left behind: {', '.join(orphans)}")
            if "envoy" in missing:
                self.state.settle_gateway_port(gateway_port)
            if not running:
                self._start_supervisord(control, internal_ports or {}, die_with_caller)
            try:
                self._start_parts(control, names, missing, say)
            except BaseException:
                if running:
                    self._stop_together(control, missing)
                else:
                    self._shut_down(control)
                raise
            if "envoy" in names:
                token = self.state.admin_token_file.read_text()
                write_private(self.state.client_file, json.dumps({"url": self.state.gateway_url, "token": token}))
        return bool(missing)

    def down(self) -> bool:
        """Stop everything, gracefully, leftovers of a killed supervisord too; False when nothing ran."""
        with self.state.lock():
            self.state.reload()
            control = Control(self.state)
            ran = control.is_running()
            if ran:
                self._shut_down(control)
            return bool(leftovers.stop(self.state.record.stack_id)) or ran

    def status(self) -> dict[str, ProcessState]:
        """Each part as supervisord sees it; empty when it does not run."""
        control = Control(self.state)
        return control.processes() if control.is_running() else {}

    def is_ready(self, name: str) -> bool:
        """Whether a part answers as it should now."""
        try:
            self._part(name).ready()
        except NotReadyError:
            return False
        return True

    def clean(self) -> None:
        """Stop everything and remove the state, also what lies outside its folder."""
        self.down()
        postgres.remove(self.state)
        s3.remove(self.state)
        if self.state.record.socket_folder is not None:
            shutil.rmtree(self.state.record.socket_folder, ignore_errors=True)
        shutil.rmtree(self.state.root)

    def _start_supervisord(self, control: Control, internal_ports: Mapping[str, int], die_with_caller: bool) -> None:
        state = self.state
        state.ensure_sockets()
        state.settle_ports(internal_ports)
        postgres.settle(state)
        state.logs.mkdir(mode=0o700, exist_ok=True)
        keys.ensure(state)
        write_configuration(state, [self._part(name) for name in PARTS], root_user=os.geteuid() == 0)
        state.control_socket.unlink(missing_ok=True)
        output = state.logs / "supervisord.out"
        with open(output, "w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(state.root / "supervisord.conf")],
                cwd=state.root,
                env=self._base_environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the caller's terminal must not reach it
                preexec_fn=_die_with_parent if die_with_caller else None,  # noqa: PLW1509 - one system call, no lock taken
            )
        deadline = time.monotonic() + START_SECONDS
        while not control.is_running():
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"supervisord does not start; the end of {output}:\n{_tail(output)}")
            time.sleep(POLL_SECONDS)

    def _start_parts(
        self, control: Control, wanted: Collection[str], missing: Sequence[str], say: Callable[[str], None]
    ) -> None:
        """Start the servers, fill them with what the services expect to find, then the services, then the gateway that
        checks them.
        """
        self._start_together(control, [name for name in missing if name in SERVERS], say)
        if "postgres" in wanted:  # also when it runs already: the start that was to do it may have been killed
            postgres.ensure_databases(self.state)
        if "s3" in wanted:
            s3.ensure_bucket(self.state)
        self._start_together(control, [name for name in missing if name not in (*SERVERS, "envoy")], say)
        self._start_together(control, [name for name in missing if name == "envoy"], say)
        if "envoy" in missing and all(process.state == "RUNNING" for process in control.processes().values()):
            self._wait(control, {"envoy": lambda: envoy.serving(self.state)}, lambda _: None)

    def _start_together(self, control: Control, names: Sequence[str], say: Callable[[str], None]) -> None:
        for name in names:
            self._prepare(name)
            control.start(name)
        self._wait(control, {name: self._part(name).ready for name in names}, say)

    def _wait(self, control: Control, checks: Mapping[str, Callable[[], None]], say: Callable[[str], None]) -> None:
        """Wait until each part passes its check; StackError with the tail of its log when one ends or takes too long."""
        begin = time.monotonic()
        waiting = dict(checks)
        while waiting:
            processes = control.processes()
            for name, ready in list(waiting.items()):
                try:
                    ready()
                    reason = "it does not stay up"
                    healthy = processes[name].state == "RUNNING"  # it has lived for a second
                except NotReadyError as error:
                    reason, healthy = str(error), False
                if healthy:
                    del waiting[name]
                    say(f"{name:<9} ready after {time.monotonic() - begin:4.1f} s")
                elif (
                    processes[name].state in ("BACKOFF", "EXITED", "FATAL") or time.monotonic() - begin > START_SECONDS
                ):
                    log = self.state.logs / f"{name}.log"
                    raise StackError(
                        f"{name} does not start ({processes[name].state}, {time.monotonic() - begin:.0f} s): {reason}\n"
                        f"The end of {log}:\n{_tail(log)}"
                    )
            time.sleep(POLL_SECONDS)

    def _stop_together(self, control: Control, names: Collection[str]) -> None:
        """Stop these parts at once and wait for the last; supervisord kills one that takes too long."""
        for name in names:
            control.stop(name)
        while any(process.state == "STOPPING" for name, process in control.processes().items() if name in names):
            time.sleep(POLL_SECONDS)

    def _shut_down(self, control: Control) -> None:
        supervisord = psutil.Process(control.pid())
        for names in STOP_ORDER:
            self._stop_together(control, names)
        control.shutdown()
        try:
            supervisord.wait(STOP_SECONDS)
        except psutil.TimeoutExpired as error:
            raise StackError(
                f"supervisord (process {supervisord.pid}) has not stopped within {STOP_SECONDS:.0f} s; see {self.state.logs}."
            ) from error

    def _part(self, name: str) -> Part:
        match name:
            case "postgres":
                part = postgres.part(self.state)
            case "nats":
                part = nats.part(self.state)
            case "s3log":
                part = s3.access_log_part(self.state)
            case "s3":
                part = s3.part(self.state)
            case "envoy":
                part = envoy.part(self.state)
            case _:
                part = services.part(self.state, name)
        return replace(part, environment={**part.environment, **self._extra.get(name, {})})

    def _prepare(self, name: str) -> None:
        match name:
            case "postgres":
                postgres.prepare(self.state)
            case "nats":
                nats.prepare(self.state)
            case "s3":
                s3.prepare(self.state)
            case "s3log":
                pass  # it needs nothing
            case "envoy":
                envoy.prepare(self.state)
            case _:
                services.prepare(self.state, name)

    def _base_environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        return {**kept, MARK: f"{self.state.record.stack_id}:{leftovers.SUPERVISORD}"}


def _chosen(only: Collection[str] | None) -> list[str]:
    if only is None:
        return list(PARTS)
    unknown = sorted(set(only) - set(PARTS))
    if unknown:
        raise StackError(f"There is no part named {', '.join(unknown)}; the parts are {', '.join(PARTS)}.")
    wanted = {*only, "s3log"} if "s3" in only else set(only)  # the server and its access log go together
    return [name for name in PARTS if name in wanted]


def _tail(log: Path) -> str:
    if not log.exists():
        return "(nothing was written)"
    return "\n".join(line[:TAIL_COLUMNS] for line in log.read_text(errors="replace").splitlines()[-TAIL_LINES:])


def _die_with_parent() -> None:
    """In the child, before exec: be sent SIGTERM when the parent ends (prctl PR_SET_PDEATHSIG; Linux only, elsewhere
    nothing).
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))
