"""SPEC.json from a claimed job."""

from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Value
from pydantic import ValidationError
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail.split.v1 import dataset_pb2
from splitrail_pod.exchange.messages import EvaluateSpec, Resume, Spec, TrainSpec
from splitrail_pod.supervisor.host import Device
from splitrail_pod.supervisor.specification import specification
from splitrail_pod.supervisor.staging.stager import Staged

DIRECTORY = Path("/pod/jobs/job/1")
FILE = DIRECTORY / "file"


def spec(job: job_service_pb2.ClaimedJob, staged: Staged, file: Path | None) -> Spec:
    return specification(
        job,
        staged,
        directory=DIRECTORY,
        cache_directory=Path("/pod/cache"),
        device=Device("0", "NVIDIA H200"),
        file=file,
    )


def training(**arguments: Value) -> job_service_pb2.ClaimedJob:
    work = job_service_pb2.TrainWork(model="yolo11s", arguments=arguments)
    return job_service_pb2.ClaimedJob(job_id="job", attempt=1, train=work)


def test_a_training_gets_its_seed_apart_and_goes_on_from_its_checkpoint() -> None:
    job = training(
        seed=Value(number_value=7),
        epochs=Value(number_value=3),
        rect=Value(bool_value=True),
        amp=Value(string_value="bf16"),
    )
    job.train.resume.epoch = 2
    made = spec(job, Staged(("cell",), {"train": 3, "val": 1}), FILE)
    assert isinstance(made, TrainSpec)
    assert (made.model, made.seed, made.resume) == ("yolo11s", 7, Resume(checkpoint=FILE, epoch=2))
    assert made.arguments == {"epochs": 3.0, "rect": True, "amp": "bf16"}
    assert (made.directory, made.spool, made.device, made.class_names) == (
        DIRECTORY,
        DIRECTORY / "spool",
        "0",
        ("cell",),
    )
    assert made.expected == {"train": 3, "val": 1}
    scratch = spec(training(), Staged(("cell",), {"train": 3, "val": 1}), None)
    assert isinstance(scratch, TrainSpec)
    assert (scratch.seed, scratch.resume) == (0, None)


def test_an_evaluation_gets_its_weights_and_its_part() -> None:
    work = job_service_pb2.EvaluateWork(part=dataset_pb2.PART_TEST, arguments={"conf": Value(number_value=0.1)})
    made = spec(
        job_service_pb2.ClaimedJob(job_id="job", attempt=1, evaluate=work), Staged(("cell",), {"test": 4}), FILE
    )
    assert isinstance(made, EvaluateSpec)
    assert (made.part, made.weights, made.arguments) == ("test", FILE, {"conf": 0.1})


@pytest.mark.parametrize("name", ["model", "save_dir", "colour"])
def test_a_job_with_an_argument_that_no_training_takes_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValidationError, match=f"arguments: {name} is"):
        spec(training(**{name: Value(string_value="x")}), Staged(("cell",), {"train": 3, "val": 1}), None)
