"""The arguments of a training that the platform sets itself. Imports neither torch nor Ultralytics."""

import os
from pathlib import Path
from typing import Any

from splitrail_common.training.models import yaml_name

from splitrail_pod.exchange.messages import TrainSpec

_MAX_WORKERS = 8


def platform_arguments(spec: TrainSpec, data: Path, run: Path) -> dict[str, Any]:
    """The arguments that the platform sets: none that callers may set, but for the seed."""
    return {
        "task": "detect",
        "mode": "train",
        "model": yaml_name(spec.model),
        "data": str(data),
        "save_dir": str(run),
        "project": None,
        "name": None,
        "exist_ok": True,
        "device": spec.device,
        "seed": spec.seed,
        "workers": 0 if spec.device == "cpu" else min(_MAX_WORKERS, os.cpu_count() or 1),
        "resume": False,
        "pretrained": False,
        "distill_model": None,
        "cache": False,
        "save": True,
        "save_period": -1,
        "plots": True,
        "val": True,
        "split": "val",
        "single_cls": False,
        "time": None,
        "verbose": True,
        "profile": False,
        "compile": False,
        "quantize": None,
        "cfg": None,
    }
