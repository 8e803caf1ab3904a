"""Ultralytics objects as plain values for records: arguments, versions, devices, metrics of a validation."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
import torch
import ultralytics

from splitrail_pod.exchange.messages import PLATFORM_ARGUMENTS

CURVE_POINTS = 101
_CURVES = ("precision_recall", "f1_confidence", "precision_confidence", "recall_confidence")
_PUBLIC_PLATFORM_ARGUMENTS = {"seed", "device", "workers"}  # what else the platform sets are paths and constants


def effective_arguments(args: Any) -> dict[str, Any]:
    """The arguments that Ultralytics uses now, by name: scalars and lists of them, without those that are paths of this pod."""
    hidden = PLATFORM_ARGUMENTS - _PUBLIC_PLATFORM_ARGUMENTS
    return {name: value for name, value in sorted(vars(args).items()) if name not in hidden and isinstance(value, bool | int | float | str | list)}


def versions() -> dict[str, str]:
    """Versions that matter for reproducing a run."""
    try:
        own = metadata.version("splitrail-trainer-pod")
    except metadata.PackageNotFoundError:
        own = "source"  # run from a source tree that is not installed
    found = {"ultralytics": ultralytics.__version__, "torch": torch.__version__, "python": platform.python_version(), "splitrail": own}
    if torch.version.cuda and torch.cuda.is_available():
        found["cuda"] = torch.version.cuda
    return found


def device(chosen: torch.device) -> dict[str, Any]:
    """What the job computes on: {"type", "name", "memory_bytes" (accelerators), "threads"}."""
    if chosen.type == "cuda":
        properties = torch.cuda.get_device_properties(chosen)
        return {"type": "cuda", "name": properties.name, "memory_bytes": properties.total_memory, "threads": torch.get_num_threads()}
    return {"type": chosen.type, "name": chosen.type, "threads": torch.get_num_threads()}


def per_class(metrics: Any, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """One entry for each class, in the order of the class ids: class_id, class_name, images, instances, precision, recall, f1, mAP50, mAP50_95.

    Ultralytics lists only classes that occur (`ap_class_index`); the values of the others are None.
    """
    box = metrics.box
    position = {int(class_id): index for index, class_id in enumerate(metrics.ap_class_index)}
    entries = []
    for class_id, class_name in names.items():
        index = position.get(class_id)
        values = (None,) * 5 if index is None else (box.p[index], box.r[index], box.f1[index], box.ap50[index], box.ap[index])
        entry: dict[str, Any] = {
            "class_id": class_id,
            "class_name": class_name,
            "images": int(metrics.nt_per_image[class_id]),
            "instances": int(metrics.nt_per_class[class_id]),
        }
        keys = ("precision", "recall", "f1", "mAP50", "mAP50_95")
        entries.append(entry | {key: None if value is None else float(value) for key, value in zip(keys, values, strict=True)})
    return entries


def curves(metrics: Any, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """The four curves: name, x_title, y_title, x (at most 101 points), classes [{class_id, class_name, y}] for the classes that occur."""
    found = []
    for name, (x, y, x_title, y_title) in zip(_CURVES, metrics.curves_results, strict=True):
        chosen = np.unique(np.linspace(0, len(x) - 1, min(CURVE_POINTS, len(x))).round().astype(int))
        classes = [
            {"class_id": int(class_id), "class_name": names[int(class_id)], "y": [float(value) for value in np.asarray(row)[chosen]]}
            for class_id, row in zip(metrics.ap_class_index, y, strict=True)
        ]
        found.append(
            {
                "name": name,
                "x_title": x_title,
                "y_title": y_title,
                "x": [float(value) for value in np.asarray(x)[chosen]],
                "classes": classes,
            }
        )
    return found
