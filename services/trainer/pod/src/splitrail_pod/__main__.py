"""`python -m splitrail_pod`: a pod that claims jobs until SIGTERM."""

import asyncio
import sys

from splitrail_common import log
from splitrail_common.settings import load

from splitrail_pod.app import PodDirectoryBusyError, run
from splitrail_pod.settings import PodSettings


def main() -> None:
    """Settings, logs, the pod. Exits with 1 and a sentence when its directory is taken."""
    settings = load(PodSettings)
    log.configure("pod", settings.log_level)
    try:
        asyncio.run(run(settings))
    except PodDirectoryBusyError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
