"""Training or evaluating: the training process, followed through its spool."""

import asyncio
from pathlib import Path

from splitrail_pod.exchange.spool import SpoolError, SpoolReader
from splitrail_pod.supervisor.context import AttemptContext
from splitrail_pod.supervisor.failures import AttemptFailedError, FailureCause
from splitrail_pod.supervisor.process import TrainingProcess
from splitrail_pod.supervisor.specification import specification
from splitrail_pod.supervisor.staging.stager import Staged

_SPOOL_SECONDS = 0.1


async def train(context: AttemptContext, staged: Staged, file: Path | None) -> None:
    """Starts the training process and takes its records until it has completed. `file`: the checkpoint or weights.

    Raises StoppedError, AttemptFailedError.
    """
    cache = context.pod.settings.pod_dir / "ultralytics"
    spec = specification(
        context.job, staged, directory=context.directory, cache_directory=cache, device=context.pod.device, file=file
    )
    path = context.directory / "SPEC.json"
    path.write_bytes(spec.encode())
    process = context.process = await TrainingProcess.start(path, cache, context.progress.offer)
    spool = SpoolReader(spec.spool)
    while True:
        ended = process.ended  # looked at before reading, so that the last reading is complete
        try:
            records = await asyncio.to_thread(spool.read_new)
        except SpoolError as error:
            raise AttemptFailedError(FailureCause.FAILURE_CAUSE_PROCESS, str(error)) from error
        for record in records:
            context.take(record)
        if ended:
            break
        await asyncio.sleep(_SPOOL_SECONDS)
    context.report.judge(process, await process.wait())
