"""SPEC.json from a claimed job: see `splitrail_pod.exchange.messages` for its form."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Value
from splitrail.trainer.v1 import job_service_pb2

from splitrail_pod.supervisor.host import Device
from splitrail_pod.supervisor.staging.stager import Staged

DEFAULT_SEED = 0


def plain(arguments: Mapping[str, Value]) -> dict[str, Any]:
    """Protobuf values as plain ones; all numbers are floats."""
    return {name: MessageToDict(value) for name, value in arguments.items()}


def specification(
    job: job_service_pb2.ClaimedJob, staged: Staged, *, directory: Path, cache_directory: Path, device: Device, file: Path | None
) -> dict[str, Any]:
    """What the training process is to do. `file` is the checkpoint to resume from (None: from scratch), or the weights to evaluate."""
    common: dict[str, Any] = {
        "directory": str(directory),
        "spool": str(directory / "spool"),
        "cache_directory": str(cache_directory),
        "class_names": list(staged.class_names),
        "device": device.argument,
        "expected": staged.images,
    }
    if job.HasField("evaluate"):
        return common | {"kind": "evaluate", "weights": str(file), "arguments": plain(job.evaluate.arguments)}
    arguments = plain(job.train.arguments)
    seed = int(arguments.pop("seed", DEFAULT_SEED))
    resume = {"checkpoint": str(file), "epoch": job.train.resume.epoch} if file else None
    return common | {"kind": "train", "model": job.train.model, "seed": seed, "arguments": arguments, "resume": resume}
