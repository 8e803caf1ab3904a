"""The lease of an attempt, renewed while it works."""

import asyncio
import random

from splitrail_common import log

from splitrail_pod.supervisor.failures import FencedError
from splitrail_pod.supervisor.network.calls import AttemptCalls, RefusedError
from splitrail_pod.supervisor.network.retry import BadResponseError, UnavailableError

_log = log.get(__name__)
_LONGEST_CALL_SECONDS = 10.0
_LONGEST_PAUSE_AFTER_ERROR_SECONDS = 2.0


class Lease:
    """Renews the lease and takes the orders that come with it."""

    def __init__(self, calls: AttemptCalls, length_seconds: float) -> None:
        self._calls = calls
        self._interval = length_seconds / 3
        self.cancelled = asyncio.Event()
        """Set once the job is to be cancelled."""
        self.completing = False
        """This attempt is completing the job: a refusal may only mean that it is complete."""

    async def run(self) -> None:
        """Renews three times in the lease's length. Unavailable services do not stop an attempt; being fenced does.

        Raises FencedError.
        """
        pause = self._interval
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1))  # noqa: S311 - jitter
            try:
                if await self._calls.heartbeat(min(self._interval, _LONGEST_CALL_SECONDS)):
                    self.cancelled.set()
                pause = self._interval
            except (UnavailableError, BadResponseError) as error:
                _log.warning("heartbeat failed, going on", error=str(error))
                pause = min(self._interval, _LONGEST_PAUSE_AFTER_ERROR_SECONDS)
            except RefusedError as error:
                raise FencedError(f"the lease cannot be renewed: {error}") from error
            except FencedError:
                if self.completing:
                    return
                raise
