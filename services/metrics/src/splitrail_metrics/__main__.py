"""python -m splitrail_metrics"""

import asyncio

from splitrail_common import log
from splitrail_common.server import serve
from splitrail_common.settings import load

from .app import build
from .settings import Settings


async def run(settings: Settings) -> None:
    """Serves until it is asked to end."""
    async with build(settings) as app:
        await serve(settings.listen, app.servicers, app.verifier, draining=app.draining, tasks=app.tasks)


def main() -> None:
    """Entry point."""
    settings = load(Settings)
    log.configure("metrics", settings.log_level)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
