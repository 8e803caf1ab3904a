"""`python -m splitrail_split`: the split service, with its settings from the environment."""

from splitrail_common.server import main

from splitrail_split.app import build
from splitrail_split.settings import Settings

if __name__ == "__main__":
    main("split", Settings, build)
