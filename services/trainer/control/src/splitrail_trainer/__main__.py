"""`python -m splitrail_trainer`: the trainer service, with its settings from the environment."""

from splitrail_common.server import main

from splitrail_trainer.app import build
from splitrail_trainer.settings import Settings

if __name__ == "__main__":
    main("trainer", Settings, build)
