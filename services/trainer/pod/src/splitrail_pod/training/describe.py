"""Ultralytics' objects as parts of records: arguments, versions, devices, metrics of a validation."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

import numpy as np
import torch
import ultralytics
from splitrail_common.training.arguments import SET_BY_PLATFORM

from splitrail_pod.exchange.messages import (
    ArgumentValue,
    ClassCurve,
    ClassMetrics,
    Curve,
    CurveName,
    DeviceInfo,
    Metric,
)

_SCALARS = (bool, int, float, str)
CURVE_POINTS = 101
_CURVES: tuple[CurveName, ...] = ("precision_recall", "f1_confidence", "precision_confidence", "recall_confidence")
_SHOWN = {"device", "workers"}  # what else the platform sets are paths and constants


def effective_arguments(args: Any) -> dict[str, ArgumentValue]:
    """The arguments that Ultralytics uses now, by name: scalars and lists of them, without those that are paths of this
    pod.
    """
    hidden = SET_BY_PLATFORM - _SHOWN
    return {name: value for name, value in sorted(vars(args).items()) if name not in hidden and _plain(value)}


def _plain(value: Any) -> bool:
    return isinstance(value, _SCALARS) or (isinstance(value, list) and all(isinstance(one, _SCALARS) for one in value))


def versions() -> dict[str, str]:
    """Versions that matter for reproducing a run."""
    try:
        own = metadata.version("splitrail-trainer-pod")
    except metadata.PackageNotFoundError:
        own = "source"  # run from a source tree that is not installed
    found = {
        "ultralytics": ultralytics.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "splitrail": own,
    }
    if torch.version.cuda and torch.cuda.is_available():
        found["cuda"] = torch.version.cuda
    return found


def device(chosen: torch.device) -> DeviceInfo:
    """What the job computes on."""
    if chosen.type == "cuda":
        properties = torch.cuda.get_device_properties(chosen)
        return DeviceInfo(
            type="cuda", name=properties.name, memory_bytes=properties.total_memory, threads=torch.get_num_threads()
        )
    return DeviceInfo(type=chosen.type, name=chosen.type, threads=torch.get_num_threads())


def per_class(metrics: Any, names: Mapping[int, str]) -> tuple[ClassMetrics, ...]:
    """One entry for each class, in the order of the class ids. Ultralytics lists only classes that occur
    (`ap_class_index`).
    """
    position = {int(class_id): index for index, class_id in enumerate(metrics.ap_class_index)}
    return tuple(
        ClassMetrics(
            class_id=class_id,
            class_name=class_name,
            images=int(metrics.nt_per_image[class_id]),
            instances=int(metrics.nt_per_class[class_id]),
            metrics=_class_metrics(metrics.box, position[class_id]) if class_id in position else {},
        )
        for class_id, class_name in names.items()
    )


def _class_metrics(box: Any, index: int) -> dict[Metric, float]:
    return {
        "precision": float(box.p[index]),
        "recall": float(box.r[index]),
        "f1": float(box.f1[index]),
        "mAP50": float(box.ap50[index]),
        "mAP50_95": float(box.ap[index]),
    }


def curves(metrics: Any, names: Mapping[int, str]) -> tuple[Curve, ...]:
    """The four curves, each of at most 101 points, for the classes that occur."""
    found = []
    for name, (x, y, x_title, y_title) in zip(_CURVES, metrics.curves_results, strict=True):
        chosen = np.unique(np.linspace(0, len(x) - 1, min(CURVE_POINTS, len(x))).round().astype(int))
        classes = tuple(
            ClassCurve(class_id=int(class_id), class_name=names[int(class_id)], y=_floats(np.asarray(row)[chosen]))
            for class_id, row in zip(metrics.ap_class_index, y, strict=True)
        )
        found.append(
            Curve(name=name, x_title=x_title, y_title=y_title, x=_floats(np.asarray(x)[chosen]), classes=classes)
        )
    return tuple(found)


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
