"""Canonical metrics: one table of what each means, and the way from Ultralytics' own keys to them.

Values pass unchanged, bit for bit; only f1 is computed. Keys without a canonical name stay in the raw metrics.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache


class Direction(Enum):
    """Which way is better."""

    NEITHER = 0
    HIGHER = 1
    LOWER = 2


@dataclass(frozen=True)
class Descriptor:
    """What a canonical metric means; metrics of one family share a chart."""

    key: str
    title: str
    unit: str
    direction: Direction
    family: str


# Heads: the suffix that Ultralytics gives to what it measures, our prefix, and its name for people. Boxes include oriented ones.
_HEADS = (("B", "", ""), ("M", "mask_", "mask "), ("P", "pose_", "pose "))
_QUALITIES = (
    ("mAP50", "mAP50", "mAP at IoU 0.50", "mAP"),
    ("mAP50-95", "mAP50_95", "mAP at IoU 0.50 to 0.95", "mAP"),
    ("precision", "precision", "Precision", "precision_recall"),
    ("recall", "recall", "Recall", "precision_recall"),
)
# Losses of the tasks detect, segment, pose, obb and classify in the model families 8, 11 and 26.
_LOSSES = (
    ("box_loss", "Box loss"),
    ("cls_loss", "Class loss"),
    ("dfl_loss", "Distribution focal loss"),
    ("l1_loss", "L1 loss"),
    ("seg_loss", "Mask loss"),
    ("sem_loss", "Semantic mask loss"),
    ("pose_loss", "Keypoint loss"),
    ("kobj_loss", "Keypoint objectness loss"),
    ("rle_loss", "Keypoint likelihood loss"),
    ("angle_loss", "Angle loss"),
    ("loss", "Loss"),
)
_PHASES = (("train", "training"), ("val", "validation"))
_LOSS = re.compile(r"(train|val)/([A-Za-z0-9_]{1,60})")
_RATE = re.compile(r"lr/pg(0|[1-9][0-9]{0,3})")
_LISTED_RATES = 8


def _loss(phase: str, spoken: str, name: str, title: str) -> Descriptor:
    return Descriptor(f"{phase}_{name}", f"{title} ({spoken})", "loss", Direction.LOWER, name)


def _rate(group: str) -> Descriptor:
    return Descriptor(f"lr_pg{group}", f"Learning rate of parameter group {group}", "", Direction.NEITHER, "lr")


def _quality(head: str, name: str, title: str, family: str) -> Descriptor:
    prefix, spoken = next((prefix, spoken) for suffix, prefix, spoken in _HEADS if suffix == head)
    return Descriptor(f"{prefix}{name}", f"{title}{f', {spoken.strip()}' if spoken else ''}", "ratio", Direction.HIGHER, f"{prefix}{family}")


_BY_RAW: dict[str, Descriptor] = {
    **{f"metrics/{raw}({head})": _quality(head, name, title, family) for head, _, _ in _HEADS for raw, name, title, family in _QUALITIES},
    "metrics/accuracy_top1": Descriptor("top1", "Top-1 accuracy", "ratio", Direction.HIGHER, "accuracy"),
    "metrics/accuracy_top5": Descriptor("top5", "Top-5 accuracy", "ratio", Direction.HIGHER, "accuracy"),
    "fitness": Descriptor("fitness", "Fitness, by which the best epoch is chosen", "", Direction.HIGHER, "fitness"),
    "epoch_seconds": Descriptor("epoch_seconds", "Time of the epoch", "s", Direction.LOWER, "epoch_seconds"),
}
_F1 = {prefix: _quality(head, "f1", "F1", "precision_recall") for head, prefix, _ in _HEADS}
_LEARNING_RATE = Descriptor("lr", "Learning rate", "", Direction.NEITHER, "lr")

SCHEMA: tuple[Descriptor, ...] = (
    *(descriptor for head, prefix, _ in _HEADS for descriptor in (*(_BY_RAW[f"metrics/{raw}({head})"] for raw, *_ in _QUALITIES), _F1[prefix])),
    _BY_RAW["metrics/accuracy_top1"],
    _BY_RAW["metrics/accuracy_top5"],
    _BY_RAW["fitness"],
    *(_loss(phase, spoken, name, title) for name, title in _LOSSES for phase, spoken in _PHASES),
    _LEARNING_RATE,
    *(_rate(str(group)) for group in range(_LISTED_RATES)),
    _BY_RAW["epoch_seconds"],
)
"""In display order. Losses and parameter groups that are not listed here have keys of the same form (see `describe`)."""


@lru_cache(maxsize=4096)
def describe(raw: str) -> Descriptor | None:
    """The canonical metric that an Ultralytics key stands for; None when it has none."""
    if known := _BY_RAW.get(raw):
        return known
    if match := _LOSS.fullmatch(raw):
        title = dict(_LOSSES).get(match[2], match[2].replace("_", " ").capitalize())
        return _loss(match[1], dict(_PHASES)[match[1]], match[2], title)
    if match := _RATE.fullmatch(raw):
        return _rate(match[1])
    return None


def normalize(raw: Mapping[str, float]) -> dict[str, float]:
    """Canonical key -> value, for every key that has a canonical name. `lr` is parameter group 0's; f1 appears beside precision and recall."""
    found = {known.key: value for name, value in raw.items() if (known := describe(name)) is not None}
    for prefix, descriptor in _F1.items():
        precision, recall = found.get(f"{prefix}precision"), found.get(f"{prefix}recall")
        if precision is not None and recall is not None:
            found[descriptor.key] = f1(precision, recall)
    if "lr_pg0" in found:
        found["lr"] = found["lr_pg0"]
    return found


def f1(precision: float, recall: float) -> float:
    """Harmonic mean 2PR / (P + R) of two ratios; 0 when both are 0 (van Rijsbergen, Information Retrieval, 1979, chapter 7: E = 1 - F)."""
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0
