"""The pod's settings, from the environment (prefix SPLITRAIL_)."""

import os
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from splitrail_common.settings import EnvironmentSettings


def _worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


class PodSettings(EnvironmentSettings):
    """What a pod needs to know: where the services are, who it is, and where it may keep bytes."""

    split_address: str
    trainer_address: str
    metrics_address: str
    nats_url: SecretStr
    """With the credentials of a user that may publish events and progress, and listen below `_INBOX_pod`."""
    worker_token_file: Path
    """Holds the token that may claim jobs; read again for each claim, so that it can be replaced while the pod runs."""
    pod_dir: Path
    """Work directories and caches, for one pod at a time. All of it may be deleted while no pod runs."""
    queue: str = "default"
    worker_name: str = Field(default_factory=_worker_name)
    poll_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    """Longest pause between two ClaimJob calls; each pause is random between half of it and all of it."""
    cache_bytes: Annotated[int, Field(ge=0)] = 20 * 1024**3
    """Limit of each of the two caches (training and evaluation)."""
    download_concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    device: Literal["auto", "cpu", "0"] = "auto"
    """`auto`: the first GPU that torch can use, else the CPU."""
    stop_grace_seconds: Annotated[float, Field(gt=0)] = 20.0
    """After SIGTERM: how long ending the training, flushing events and uploads may take together."""
    cancel_grace_seconds: Annotated[float, Field(gt=0)] = 60.0
    """After a cancel: how long the batch in progress may still take before the training process is killed."""
    patience_seconds: Annotated[float, Field(gt=0)] = 1800.0
    """How long staging and final uploads wait for a store that does not respond; training itself never waits."""
