"""``python -m splitrail_pod.training SPEC.json``: one job, then the end. See `splitrail_pod.exchange.messages` for what
goes in and out.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from splitrail_pod.exchange.messages import (
    EXIT_CANCELLED,
    EXIT_COMPLETED,
    EXIT_FAILED,
    CancelledRecord,
    FailedRecord,
    Spec,
    TrainSpec,
    read_spec,
)
from splitrail_pod.exchange.spool import SpoolWriter
from splitrail_pod.training import startup
from splitrail_pod.training.failures import CancelOrderedError, explain
from splitrail_pod.training.logs import clean, route
from splitrail_pod.training.orders import Orders
from splitrail_pod.training.progress import ProgressWriter


def main(arguments: list[str]) -> int:
    """Run the job of SPEC.json; the exit status. Raises MessageError and OSError when there is not even a spool to
    report to.
    """
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m splitrail_pod.training SPEC.json\n")
        return 2
    startup.die_with_parent()
    job = read_spec(Path(arguments[0]))
    orders = Orders()
    orders.listen()
    progress = ProgressWriter()
    with SpoolWriter(job.spool) as spool:
        return _run(job, spool, progress, orders)


def _run(job: Spec, spool: SpoolWriter, progress: ProgressWriter, orders: Orders) -> int:
    try:
        _work(job, spool, progress, orders)
    except CancelOrderedError:
        spool.append(CancelledRecord())
        return EXIT_CANCELLED
    except Exception as error:  # the one place where an exception becomes a record; its trace goes to standard error
        traceback.print_exc()
        cause, message = explain(error)
        spool.append(FailedRecord(cause=cause, message=clean(message)))
        return EXIT_FAILED
    return EXIT_COMPLETED


def _work(job: Spec, spool: SpoolWriter, progress: ProgressWriter, orders: Orders) -> None:
    """Import Ultralytics in a prepared environment, and do the job."""
    startup.apply(job.cache_directory)
    os.chdir(job.directory)  # Ultralytics looks for bare file names here first
    from ultralytics.utils import SETTINGS  # noqa: PLC0415  # reads the environment when imported

    route(spool)
    SETTINGS.update(
        {
            "sync": False,
            "api_key": "",
            **dict.fromkeys(("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb"), False),
        }
    )
    if isinstance(job, TrainSpec):
        from splitrail_pod.training.train import train  # noqa: PLC0415

        train(job, spool, progress, orders)
    else:
        from splitrail_pod.training.evaluate import evaluate  # noqa: PLC0415

        evaluate(job, spool, progress, orders)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
