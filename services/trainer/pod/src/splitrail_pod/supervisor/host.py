"""What the pod runs on: its device, the versions of what it runs, and whether the kernel has killed processes because
memory ran out.
"""

import asyncio
import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from splitrail_common import log

from splitrail_pod.exchange.environment import scrubbed

_log = log.get(__name__)
_DISTRIBUTIONS = {
    "ultralytics": ("ultralytics-opencv-headless", "ultralytics"),
    "torch": ("torch",),
    "splitrail": ("splitrail-trainer-pod",),
}
_ACCELERATOR_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")
_PROBE = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
_PROBE_SECONDS = 120.0


def _sign_of_accelerator() -> bool:
    return any(os.path.exists(file) for file in _ACCELERATOR_FILES)


@dataclass(frozen=True)
class Device:
    """What jobs compute on."""

    argument: Literal["cpu", "0"]
    """As the training process takes it."""
    name: str
    """For people: `cpu`, `NVIDIA H200`."""


def versions() -> dict[str, str]:
    """Versions that matter for reproducing a run, from the installed distributions, without importing them."""
    found = {"python": platform.python_version()}
    for name, candidates in _DISTRIBUTIONS.items():
        for candidate in candidates:
            try:
                found[name] = metadata.version(candidate)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


async def find_device(wanted: Literal["auto", "cpu", "0"], cache_directory: Path) -> Device:
    """The device to use. Asks torch, in a process of its own, only where there is a sign of an accelerator: its import
    takes seconds.

    Raises RuntimeError when a GPU is demanded and torch cannot use one.
    """
    if wanted == "cpu" or (wanted == "auto" and not _sign_of_accelerator()):
        return Device("cpu", "cpu")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-c",
        _PROBE,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=scrubbed(os.environ, cache_directory),
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), _PROBE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    name = output.decode(errors="replace").strip()
    if process.returncode == 0 and name:
        return Device("0", name)
    reason = errors.decode(errors="replace").strip().rpartition("\n")[2] or "torch.cuda.is_available() is false"
    if wanted == "0":
        raise RuntimeError(f"SPLITRAIL_DEVICE=0, but torch cannot use a GPU: {reason}")
    _log.warning("there seems to be a GPU, but torch cannot use it; training on the CPU", reason=reason)
    return Device("cpu", "cpu")


def out_of_memory_kills() -> int | None:
    """How many processes the kernel has killed so far because memory ran out: in this control group if it can tell,
    else on the whole machine; None when unknown.

    Two readings that differ make it likely that a process that was killed between them was one of these.
    """
    for path in (
        Path("/sys/fs/cgroup/memory.events"),
        Path("/sys/fs/cgroup/memory/memory.oom_control"),
        Path("/proc/vmstat"),
    ):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition(" ")
            if key == "oom_kill" and value.strip().isdigit():
                return int(value)
    return None
