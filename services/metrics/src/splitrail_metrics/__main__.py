"""`python -m splitrail_metrics`: the metrics service, with its settings from the environment."""

from splitrail_common.server import main

from splitrail_metrics.app import build
from splitrail_metrics.settings import Settings

if __name__ == "__main__":
    main("metrics", Settings, build)
