"""Orders from the supervisor, line by line on standard input; see `splitrail_pod.exchange.messages`."""

from __future__ import annotations

import os
import sys
import threading

from splitrail_pod.exchange.messages import EXIT_ORPHANED, CancelOrder, FinishOrder, MessageError, decode_order
from splitrail_pod.training.failures import CancelOrderedError


class Orders:
    """What the supervisor has ordered so far."""

    def __init__(self) -> None:
        self._cancel = threading.Event()
        self._finish = threading.Event()

    def listen(self) -> None:
        """Read standard input on a thread of its own. Its end ends the process at once: nobody would upload what it
        makes, and another pod may have the job.
        """
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def _read(self) -> None:
        # Unbuffered: the interpreter cannot shut down while a thread waits inside a buffered reader.
        for line in os.fdopen(0, "rb", buffering=0, closefd=False):
            try:
                order = decode_order(line)
            except MessageError as error:
                sys.stderr.write(f"refused an order: {error}\n")
                continue
            match order:
                case CancelOrder():
                    self._cancel.set()
                case FinishOrder():
                    self._finish.set()
        os._exit(EXIT_ORPHANED)

    def raise_if_cancelled(self) -> None:
        """Raises CancelOrderedError once the order has come. To be called between batches: never by trainer.stop, which
        would save half an epoch as a whole one.
        """
        if self._cancel.is_set():
            raise CancelOrderedError

    @property
    def finish(self) -> bool:
        """End after the present epoch."""
        return self._finish.is_set()
