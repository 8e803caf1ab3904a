"""Prepares this process before Ultralytics is imported, which reads its switches at import. Imports no torch."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
from pathlib import Path

from splitrail_pod.exchange.environment import scrubbed

_PR_SET_PDEATHSIG = 1
_FONTS = ("Arial.ttf", "Arial.Unicode.ttf")


def apply(cache_directory: Path) -> None:
    """Scrub this process's environment and prepare `cache_directory` (created when absent). Raises OSError."""
    clean = scrubbed(os.environ, cache_directory)
    for name in set(os.environ) - set(clean):
        del os.environ[name]
    os.environ.update(clean)
    (cache_directory / "matplotlib").mkdir(parents=True, exist_ok=True)
    _place_fonts(cache_directory / "Ultralytics")


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends (not only the process: start it from the
    main thread), and exit now when it is gone already. Linux only; elsewhere the end of standard input is the only
    signal. Raises OSError.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _place_fonts(directory: Path) -> None:
    """Put a font where Ultralytics looks for Arial: it asks the network for a missing one even when told to be offline."""
    directory.mkdir(parents=True, exist_ok=True)
    missing = [directory / name for name in _FONTS if not (directory / name).exists()]
    if not missing:
        return
    import matplotlib  # noqa: PLC0415  # only now: it reads MPLCONFIGDIR when imported

    source = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for target in missing:
        partial = target.with_suffix(f".{os.getpid()}")
        shutil.copyfile(source, partial)
        partial.rename(target)
