"""What outlives an attempt (`Pod`) and what its phases share (`AttemptContext`)."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from nats.aio.client import Client
from splitrail.internal.trainer.v1 import job_service_pb2

from splitrail_pod.exchange.messages import CheckpointRecord, Record
from splitrail_pod.settings import PodSettings
from splitrail_pod.supervisor.feed import Feed
from splitrail_pod.supervisor.host import Device
from splitrail_pod.supervisor.lease import Lease
from splitrail_pod.supervisor.network.calls import AttemptCalls, Channels
from splitrail_pod.supervisor.network.transfer import Transfer
from splitrail_pod.supervisor.process import TrainingProcess
from splitrail_pod.supervisor.progress import ProgressRelay
from splitrail_pod.supervisor.results.report import ProcessReport
from splitrail_pod.supervisor.results.uploads import CheckpointUploader, Uploads
from splitrail_pod.supervisor.staging.cache import ContentCache


@dataclass(frozen=True)
class Pod:
    """What the attempts of a pod share."""

    settings: PodSettings
    channels: Channels
    nats: Client
    transfer: Transfer
    training_cache: ContentCache
    evaluation_cache: ContentCache
    device: Device
    draining: asyncio.Event
    """Set once the pod is to end."""


@dataclass
class AttemptContext:
    """What the phases of an attempt share."""

    pod: Pod
    job: job_service_pb2.ClaimedJob
    directory: Path
    """The attempt's work directory."""
    calls: AttemptCalls
    feed: Feed
    lease: Lease
    progress: ProgressRelay
    uploads: Uploads
    checkpoints: CheckpointUploader
    report: ProcessReport = field(default_factory=ProcessReport)
    """What the training process has left so far."""
    process: TrainingProcess | None = None
    """The training process, once it has been started."""
    finishing: bool = False
    """The training process has completed, and its results are being stored."""

    @classmethod
    def of(cls, pod: Pod, job: job_service_pb2.ClaimedJob) -> "AttemptContext":
        """For an attempt that has just been claimed."""
        calls = AttemptCalls(pod.channels, job)
        uploads = Uploads(calls, pod.transfer, pod.settings.patience_seconds)
        return cls(
            pod=pod,
            job=job,
            directory=pod.settings.pod_dir / "jobs" / job.job_id / str(job.attempt),
            calls=calls,
            feed=Feed(pod.nats.jetstream(), calls, job),
            lease=Lease(calls, job.lease_duration.ToNanoseconds() / 1e9),
            progress=ProgressRelay(pod.nats, calls, job),
            uploads=uploads,
            checkpoints=CheckpointUploader(uploads),
        )

    @property
    def evaluates(self) -> bool:
        """The job is an evaluation, not a training."""
        return self.job.HasField("evaluate")

    def take(self, record: Record) -> None:
        """Handles a spool record: kept for the end, a checkpoint offered for upload, an event emitted."""
        self.report.take(record)
        if isinstance(record, CheckpointRecord):
            self.checkpoints.offer(record)
        self.feed.take(record)
