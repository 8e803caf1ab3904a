"""The `splitrail` command."""

import importlib.metadata

import click
import stamina.instrumentation

from .data import dataset
from .evaluations import evaluate
from .imports import import_
from .projects import project
from .runs import run
from .splits import split
from .training import schema, train
from .versions import version


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("splitrail-client"), prog_name="splitrail")
def cli() -> None:
    """Splitrail: split once, train on exactly that split, watch every epoch, evaluate on held-out images.

    \b
    splitrail dataset import cells/
    splitrail split create cells@v1 --ratios 0.7,0.15,0.15 --seed 42 --stratify
    splitrail train data=cells@v1 model=yolov8n epochs=20
    splitrail eval run cells/1 --split test

    Data goes to stdout, progress to stderr. Exit codes: 0 done, 1 failed, 2 invalid usage (found by the command
    itself), 3 refused by a service, 4 unreachable.
    """


for command in (project, dataset, import_, version, split, train, run, evaluate, schema):
    cli.add_command(command)


def main() -> None:
    """Runs the command and exits."""
    stamina.instrumentation.set_on_retry_hooks(())  # they would write about repeated uploads to stdout
    cli(prog_name="splitrail")
