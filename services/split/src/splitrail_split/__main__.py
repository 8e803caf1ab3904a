"""`python -m splitrail_split`: the split service, with its settings from the environment."""

import asyncio

from splitrail_common import log
from splitrail_common.settings import load

from splitrail_split.app import run
from splitrail_split.settings import Settings


def main() -> None:
    """Reads the settings and serves."""
    settings = load(Settings)
    log.configure("split", settings.log_level)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
