"""Staging: the images and labels of the job, from the cache of its kind."""

from splitrail.split.v1 import dataset_pb2

from splitrail_pod.supervisor.context import AttemptContext
from splitrail_pod.supervisor.staging.stager import Staged, Stager


async def stage(context: AttemptContext) -> Staged:
    """Stages the parts that the job needs. Raises AttemptFailedError, FencedError."""
    pod, job = context.pod, context.job
    stager = Stager(
        context.calls,
        pod.transfer,
        pod.evaluation_cache if context.evaluates else pod.training_cache,
        context.directory,
        concurrency=pod.settings.download_concurrency,
        patience_seconds=pod.settings.patience_seconds,
    )
    if context.evaluates:
        return await stager.stage(job.evaluate.split_id, [job.evaluate.part])
    return await stager.stage(job.train.split_id, [dataset_pb2.PART_TRAIN, dataset_pb2.PART_VAL])
