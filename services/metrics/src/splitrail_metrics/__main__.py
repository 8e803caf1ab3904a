"""`python -m splitrail_metrics`: the metrics service, with its settings from the environment."""

import argparse
import asyncio

from splitrail_common import log
from splitrail_common.server import main
from splitrail_common.settings import load

from splitrail_metrics.app import begin_incarnation, build
from splitrail_metrics.settings import Settings

_HELP = """\
serve (the default): serves until SIGTERM.

new-incarnation: run it once after a snapshot of the database's disk was put back, while the service runs or before.
Watchers then forget what they have read and start from the beginning, because a seq means another event now. Other
restores (a base backup, a point in time, a dump) are noticed without it."""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        "python -m splitrail_metrics", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=("serve", "new-incarnation"), default="serve")
    if parser.parse_args().command == "serve":
        main("metrics", Settings, build)
    else:
        settings = load(Settings)
        log.configure("metrics", settings.log_level)
        print(asyncio.run(begin_incarnation(settings)))  # noqa: T201 - the command's answer
