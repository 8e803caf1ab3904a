"""`python -m splitrail_trainer`: reads the environment and serves."""

import asyncio

from splitrail_common import log
from splitrail_common.settings import load

from splitrail_trainer.app import run
from splitrail_trainer.settings import Settings


def main() -> None:
    """Serves until SIGTERM."""
    settings = load(Settings)
    log.configure("trainer", settings.log_level)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
