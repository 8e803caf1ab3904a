"""Writes progress as JSON lines to what was standard output at the start."""

from __future__ import annotations

import os
import select
import sys
import time

from splitrail_pod.exchange.messages import Progress

_INTERVAL_SECONDS = 0.2
_MAX_LINE_BYTES = select.PIPE_BUF  # up to here a pipe takes a line whole or not at all


class ProgressWriter:
    """Writes at most five lines a second, and drops a line rather than wait for a reader."""

    def __init__(self) -> None:
        """Take over standard output; what others print there goes to standard error from now on."""
        sys.stdout.flush()
        self._descriptor = os.dup(1)
        os.set_blocking(self._descriptor, False)
        os.dup2(2, 1)
        self._next = 0.0

    def report(self, progress: Progress) -> None:
        """Send `progress`, unless a line was sent less than a fifth of a second ago."""
        now = time.monotonic()
        if now < self._next:
            return
        line = progress.encode() + b"\n"
        if len(line) > _MAX_LINE_BYTES:
            return
        self._next = now + _INTERVAL_SECONDS
        try:
            os.write(self._descriptor, line)
        except BlockingIOError:
            pass  # a full pipe: progress is worth less than training time
        except BrokenPipeError:
            self._next = float("inf")  # nobody reads any more; standard input tells whether the supervisor is gone
