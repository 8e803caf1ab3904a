"""Log lines of Ultralytics and of Python's warnings, as `log` records in the spool."""

from __future__ import annotations

import logging
import re
import threading
import traceback

from splitrail_pod.exchange.messages import LogLevel, LogRecord
from splitrail_pod.exchange.spool import SpoolWriter

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MAX_BYTES = 4096
_CUT = " [...]"


def clean(text: str) -> str:
    """Without ANSI codes and control characters (newlines stay), at most 4 KiB of UTF-8."""
    text = _CONTROLS.sub("", _ESCAPES.sub("", text)).replace("\t", "    ").strip("\n ")
    data = text.encode("utf-8", "replace")
    if len(data) <= _MAX_BYTES:
        return data.decode()
    return data[: _MAX_BYTES - len(_CUT)].decode("utf-8", "ignore") + _CUT


class SpoolHandler(logging.Handler):
    """Appends log records to the spool, unsynced: the next synced record carries them to the disk.

    A spool that cannot be written raises, and ends the training: `emit` does not catch as logging's own handlers do.
    """

    def __init__(self, spool: SpoolWriter) -> None:
        super().__init__()
        self._spool = spool

    def emit(self, record: logging.LogRecord) -> None:
        text = clean(record.getMessage())
        if text:
            self._spool.append(LogRecord(level=_level(record.levelno), text=text), sync=False)


def _level(number: int) -> LogLevel:
    return "error" if number >= logging.ERROR else "warning" if number >= logging.WARNING else "info"


def route(spool: SpoolWriter) -> None:
    """Send Ultralytics' logger, Python's warnings and exceptions of plot threads to the spool. To be called after
    Ultralytics is imported.
    """
    handler = SpoolHandler(spool)
    for name in ("ultralytics", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
    logging.captureWarnings(capture=True)

    def thread_failed(event: threading.ExceptHookArgs) -> None:
        trace = "".join(traceback.format_exception(event.exc_type, event.exc_value, event.exc_traceback))
        name = event.thread.name if event.thread else "?"
        spool.append(LogRecord(level="error", text=clean(f"thread {name} failed: {trace}")), sync=False)

    threading.excepthook = thread_failed
