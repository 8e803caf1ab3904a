"""SPEC.json from a claimed job: see `splitrail_pod.exchange.messages` for its fields."""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Value
from splitrail.internal.trainer.v1 import job_service_pb2

from splitrail_pod.exchange.messages import ArgumentValue, EvaluateSpec, Part, Resume, Spec, TrainSpec
from splitrail_pod.supervisor.host import Device
from splitrail_pod.supervisor.staging.stager import Staged

DEFAULT_SEED = 0


def plain(arguments: Mapping[str, Value], but: Set[str] = frozenset()) -> dict[str, ArgumentValue]:
    """Protobuf values as plain ones, without those named in `but`; all numbers are floats."""
    return {name: _plain(value) for name, value in arguments.items() if name not in but}


def _plain(value: Value) -> ArgumentValue:
    plain: Any = MessageToDict(value)  # of a Value, no dict
    return cast("ArgumentValue", plain)


class _Common(TypedDict):
    directory: Path
    spool: Path
    cache_directory: Path
    class_names: tuple[str, ...]
    device: Literal["cpu", "0"]
    expected: dict[Part, int]


def specification(
    job: job_service_pb2.ClaimedJob,
    staged: Staged,
    *,
    directory: Path,
    cache_directory: Path,
    device: Device,
    file: Path | None,
) -> Spec:
    """What the training process is to do. `file` is the checkpoint to resume from (None: from scratch), or the weights
    to evaluate.

    Raises ValidationError when the job is not one that a training process accepts.
    """
    common = _Common(
        directory=directory,
        spool=directory / "spool",
        cache_directory=cache_directory,
        class_names=staged.class_names,
        device=device.argument,
        expected=staged.images,
    )
    if job.HasField("evaluate"):
        assert file is not None, "an evaluation has weights"
        return EvaluateSpec(**common, weights=file, arguments=plain(job.evaluate.arguments))
    arguments = job.train.arguments
    seed = int(arguments["seed"].number_value) if "seed" in arguments else DEFAULT_SEED
    resume = Resume(checkpoint=file, epoch=job.train.resume.epoch) if file else None
    return TrainSpec(
        **common, model=job.train.model, seed=seed, arguments=plain(arguments, but={"seed"}), resume=resume
    )
