"""Processes that outlived their supervisord (kill -9), found by the mark in their environment."""

import signal
from collections.abc import Iterator

import psutil

from splitrail_local.errors import StackError
from splitrail_local.supervisor import MARK

SUPERVISORD = "supervisord"
PATIENCE = 40.0
"""Seconds that a stray supervisord, and then a stray part, may take to stop before it is killed."""


def stop(stack_id: str) -> list[str]:
    """Stop every process of the stack that still runs; returns the names of the parts found.

    First a supervisord that lost its socket (it would restart its children), then what is left; whatever ignores that
    is killed.
    """
    found = dict(_marked(stack_id))
    names = sorted(set(found.values()))
    strays = [process for process, part in found.items() if part == SUPERVISORD]
    _signal(strays, signal.SIGTERM)
    psutil.wait_procs(strays, timeout=PATIENCE)
    rest = dict(_marked(stack_id))
    tops = [process for process in rest if _parent(process) not in rest]
    for process in tops:
        _signal([process], signal.SIGINT if rest[process] == "postgres" else signal.SIGTERM)
    psutil.wait_procs(list(rest), timeout=PATIENCE)
    last = list(dict(_marked(stack_id)))
    _signal(last, signal.SIGKILL)
    _, alive = psutil.wait_procs(last, timeout=PATIENCE)
    if alive:
        raise StackError(
            f"These processes of an earlier start do not end: {', '.join(str(process.pid) for process in alive)}."
        )
    return names


def _marked(stack_id: str) -> Iterator[tuple[psutil.Process, str]]:
    """Each live process that carries the stack's mark, with the part it belongs to."""
    for process in psutil.process_iter():
        try:
            owner, _, part = process.environ().get(MARK, "").partition(":")
            if owner == stack_id and process.status() != psutil.STATUS_ZOMBIE:
                yield process, part
        except (psutil.Error, OSError):  # it ended meanwhile, or belongs to someone else and so is not ours
            continue


def _parent(process: psutil.Process) -> psutil.Process | None:
    try:
        return process.parent()
    except psutil.NoSuchProcess:
        return None


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
