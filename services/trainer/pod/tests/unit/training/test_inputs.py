"""What goes into the training process: specifications, models, the environment; and text that goes out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from splitrail_pod.exchange import environment
from splitrail_pod.exchange.messages import (
    EpochRecord,
    EvaluateSpec,
    JobFailureCause,
    MessageError,
    Resume,
    TrainSpec,
    read_spec,
)
from splitrail_pod.training.failures import JobFailedError, explain
from splitrail_pod.training.history import best_epoch, csv_row, write_csv
from splitrail_pod.training.logs import clean

TRAIN: dict[str, Any] = {
    "kind": "train",
    "directory": "/job",
    "spool": "/job/spool",
    "cache_directory": "/cache",
    "class_names": ["a"],
    "device": "cpu",
    "expected": {"train": 2, "val": 1},
    "arguments": {"epochs": 3},
    "model": "yolo11s",
    "seed": 1,
    "resume": {"checkpoint": "/job/x.ckpt", "epoch": 2},
}
EVALUATE = {key: TRAIN[key] for key in ("directory", "spool", "cache_directory", "class_names", "device")} | {
    "kind": "evaluate",
    "expected": {"test": 4},
    "arguments": {"imgsz": 64},
    "weights": "/job/best.pt",
}


def test_both_kinds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(TRAIN))
    train = read_spec(path)
    assert isinstance(train, TrainSpec)
    assert train.resume == Resume(checkpoint=Path("/job/x.ckpt"), epoch=2)
    path.write_bytes(train.encode())
    assert read_spec(path) == train
    path.write_text(json.dumps(EVALUATE))
    evaluate = read_spec(path)
    assert isinstance(evaluate, EvaluateSpec)
    assert evaluate.part == "test"


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (TRAIN | {"model": "../yolov8n.yaml"}, "model"),
        (TRAIN | {"model": "https://example.org/model.yaml"}, "model"),
        (TRAIN | {"arguments": {"data": "http://example.org"}}, "arguments"),
        (TRAIN | {"arguments": {"resume": True}}, "arguments: resume is set by the platform"),
        (TRAIN | {"arguments": {"learning_rate": 0.1}}, "learning_rate"),
        (TRAIN | {"arguments": {"seed": 1}}, "seed"),
        (TRAIN | {"expected": {"train": 2, "val": 1, "test": 1}}, "expected"),
        (TRAIN | {"directory": "job"}, "directory"),
        (TRAIN | {"device": "cpu,0"}, "device"),
        (TRAIN | {"class_names": []}, "class_names"),
        (TRAIN | {"kind": "export"}, "export"),
        (TRAIN | {"weights": "/job/best.pt"}, "weights"),
        (TRAIN | {"arguments": {"lr0": {"of": 1}}}, "arguments.lr0"),
        (TRAIN | {"seed": 2**31}, "seed"),
        (EVALUATE | {"weights": 1}, "weights"),
        (EVALUATE | {"expected": {"val": 1, "test": 1}}, "expected"),
        (EVALUATE | {"expected": {"../x": 1}}, "expected"),
        (EVALUATE | {"arguments": {"save_json": True}}, "arguments"),
        ({key: value for key, value in TRAIN.items() if key != "seed"}, "seed"),
    ],
)
def test_a_wrong_specification_names_the_field(tmp_path: Path, raw: dict[str, Any], field: str) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(raw))
    with pytest.raises(MessageError, match=field):
        read_spec(tmp_path / "spec.json")


def test_what_both_processes_import_is_light() -> None:
    """The supervisor shares the package `exchange`, so it must not bring torch; the training process shares it, so it
    must not bring the network.
    """
    program = (
        "import sys, pkgutil, importlib, splitrail_pod.exchange as package\n"
        "for one in pkgutil.iter_modules(package.__path__): importlib.import_module(f'splitrail_pod.exchange.{one.name}')\n"
        "heavy = {'torch', 'ultralytics', 'numpy', 'matplotlib', 'grpc', 'httpx', 'nats', 'splitrail', 'splitrail_pod.supervisor'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_credentials_do_not_reach_the_training_process() -> None:
    given = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "CUDA_VISIBLE_DEVICES": "1",
        "SPLITRAIL_TOKEN": "t",
        "AWS_SECRET_ACCESS_KEY": "s",
        "ULTRALYTICS_API_KEY": "u",
    }
    clean_environment = environment.scrubbed(given, Path("/cache"))
    assert set(given) & set(clean_environment) == {"PATH", "LC_ALL", "CUDA_VISIBLE_DEVICES"}
    assert clean_environment["YOLO_OFFLINE"] == "1"
    assert clean_environment["ULTRALYTICS_SAFE_LOAD"] == "1"


def test_log_text_is_plain_and_short() -> None:
    assert clean("\x1b[34m\x1b[1mtrain: \x1b[0mok\r\x07\n") == "train: ok"
    assert clean("one\ntwo") == "one\ntwo"
    long = clean("é" * 5000)
    assert len(long.encode()) <= 4096
    assert long.endswith("[...]")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (JobFailedError(JobFailureCause.DATA, "x"), JobFailureCause.DATA),
        (MemoryError(), JobFailureCause.HOST_MEMORY),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            JobFailureCause.HOST_MEMORY,
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), JobFailureCause.ACCELERATOR_MEMORY),
        (RuntimeError("Training failed: NaN persisted for 4 epochs"), JobFailureCause.NAN),
        (RuntimeError("shape mismatch"), JobFailureCause.PROCESS),
        (KeyError("metrics"), JobFailureCause.PROCESS),
    ],
)
def test_failures_have_a_cause(error: Exception, cause: JobFailureCause) -> None:
    assert explain(error)[0] is cause


def epoch_record(epoch: int, elapsed_seconds: float, values: dict[str, float], fitness: float) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        epochs=3,
        values=values,
        fitness=fitness,
        best_fitness=0.2,
        epoch_seconds=1.0,
        elapsed_seconds=elapsed_seconds,
        last=False,
    )


def test_results_csv_is_a_function_of_the_history(tmp_path: Path) -> None:
    history = [
        epoch_record(1, 1.23456789, {"train/box_loss": 4.25304, "lr/pg0": 0.000123456789}, 0.2),
        epoch_record(2, 2.5, {"train/box_loss": float("nan"), "lr/pg0": 1e-7}, 0.2),
        epoch_record(3, 3.5, {"train/box_loss": 1.0, "lr/pg0": 0.0}, float("nan")),
    ]
    write_csv(tmp_path / "results.csv", history)
    expected = "epoch,time,train/box_loss,lr/pg0\n1,1.23457,4.25304,0.000123457\n2,2.5,nan,1e-07\n3,3.5,1,0\n"
    assert (tmp_path / "results.csv").read_text() == expected
    assert csv_row(tmp_path / "results.csv") == (3, 3.5)
    assert best_epoch(history) == 2
    assert best_epoch(history[2:]) is None
