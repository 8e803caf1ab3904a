"""Canonical metrics: one table of what each means, which page, command and documents read too (GetMetricSchema), and
the way to them from Ultralytics' own keys.

Values pass unchanged, bit for bit; only f1 is computed. Keys without a canonical name stay in the raw metrics. A new
quality of each head is one row of `_QUALITIES`, a new loss one of `_LOSSES`, any other metric one of `_PLAIN`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache


class Direction(Enum):
    """Which way is better."""

    NEITHER = 0
    HIGHER = 1
    LOWER = 2


@dataclass(frozen=True)
class Metric:
    """What a canonical metric means."""

    key: str
    title: str
    """For legends and the heads of tables."""
    unit: str
    direction: Direction
    family: str
    """Metrics of one family share a chart."""
    family_title: str
    headline: bool = False
    """Shown where there is room for a few metrics only."""


@dataclass(frozen=True)
class _Head:
    """One of the things that a model predicts."""

    suffix: str
    """By which Ultralytics tells its qualities apart."""
    prefix: str
    spoken: str


# Boxes include oriented ones.
_HEADS = (_Head("(B)", "", ""), _Head("(M)", "mask_", "mask "), _Head("(P)", "pose_", "pose "))


@dataclass(frozen=True)
class _Quality:
    """A ratio that is measured for each head."""

    raw: str
    """Ultralytics' key without the head's suffix; empty: computed here."""
    name: str
    title: str
    family: str
    headline: bool = False


_QUALITIES = (
    _Quality("metrics/mAP50", "mAP50", "mAP50", "mAP", headline=True),
    _Quality("metrics/mAP50-95", "mAP50_95", "mAP50-95", "mAP", headline=True),
    _Quality("metrics/precision", "precision", "precision", "precision_recall"),
    _Quality("metrics/recall", "recall", "recall", "precision_recall"),
    _Quality("", "f1", "F1", "precision_recall"),
)
_FAMILIES = {"mAP": "mean average precision", "precision_recall": "precision, recall and F1"}

# Losses of the tasks detect, segment, pose, obb and classify in the model families 8, 11 and 26.
_LOSSES = {
    "box_loss": "box loss",
    "cls_loss": "class loss",
    "dfl_loss": "distribution focal loss",
    "l1_loss": "L1 loss",
    "seg_loss": "mask loss",
    "sem_loss": "semantic mask loss",
    "pose_loss": "keypoint loss",
    "kobj_loss": "keypoint objectness loss",
    "rle_loss": "keypoint likelihood loss",
    "angle_loss": "angle loss",
    "loss": "loss",
}
_PHASES = {"train": "training", "val": "validation"}
_LOSS = re.compile(r"(train|val)/([A-Za-z0-9_]{1,60})")
_RATE = re.compile(r"lr/pg(0|[1-9][0-9]{0,3})")
_LISTED_RATES = 8


def _sentence(text: str) -> str:
    """With a capital letter at the start, unless it is a name such as mAP."""
    return text if text[:2] == "mA" else text[:1].upper() + text[1:]


def _quality(head: _Head, row: _Quality) -> Metric:
    family_title = _sentence(head.spoken + _FAMILIES[row.family])
    title = _sentence(head.spoken + row.title)
    return Metric(
        head.prefix + row.name, title, "ratio", Direction.HIGHER, head.prefix + row.family, family_title, row.headline
    )


def _loss(phase: str, name: str) -> Metric:
    title = _sentence(_LOSSES.get(name) or name.replace("_", " "))
    return Metric(f"{phase}_{name}", f"{title} ({_PHASES[phase]})", "loss", Direction.LOWER, name, title)


def _rate(group: str) -> Metric:
    return Metric(
        f"lr_pg{group}", f"Learning rate of parameter group {group}", "", Direction.NEITHER, "lr", "Learning rate"
    )


# Figures of a task that has no heads, and of every task.
_PLAIN = {
    "metrics/accuracy_top1": Metric(
        "top1", "Top-1 accuracy", "ratio", Direction.HIGHER, "accuracy", "Accuracy", headline=True
    ),
    "metrics/accuracy_top5": Metric("top5", "Top-5 accuracy", "ratio", Direction.HIGHER, "accuracy", "Accuracy"),
    "fitness": Metric(
        "fitness", "Fitness, by which the best epoch is chosen", "", Direction.HIGHER, "fitness", "Fitness"
    ),
}
_LEARNING_RATE = Metric("lr", "Learning rate", "", Direction.NEITHER, "lr", "Learning rate")
_EPOCH_SECONDS = Metric("epoch_seconds", "Time of the epoch", "s", Direction.LOWER, "epoch_seconds", "Time of an epoch")

_BY_RAW: dict[str, Metric] = {
    **{row.raw + head.suffix: _quality(head, row) for head in _HEADS for row in _QUALITIES if row.raw},
    **_PLAIN,
    "epoch_seconds": _EPOCH_SECONDS,
}


def _listed() -> Iterator[Metric]:
    for head in _HEADS:
        yield from (_quality(head, row) for row in _QUALITIES)
    yield from _PLAIN.values()
    yield from (_loss(phase, name) for name in _LOSSES for phase in _PHASES)
    yield _LEARNING_RATE
    yield from (_rate(str(group)) for group in range(_LISTED_RATES))
    yield _EPOCH_SECONDS


METRICS: tuple[Metric, ...] = tuple(_listed())
"""In display order. Losses and parameter groups that are not listed here have keys of the same form (see `describe`).
"""


@lru_cache(maxsize=4096)
def describe(raw: str) -> Metric | None:
    """The canonical metric that an Ultralytics key stands for; None when it has none."""
    if known := _BY_RAW.get(raw):
        return known
    if match := _LOSS.fullmatch(raw):
        return _loss(match[1], match[2])
    if match := _RATE.fullmatch(raw):
        return _rate(match[1])
    return None


def normalize(raw: Mapping[str, float]) -> dict[str, float]:
    """Canonical key -> value, for every key that has a canonical name. `lr` is parameter group 0's; f1 appears beside
    precision and recall."""
    found = {known.key: value for name, value in raw.items() if (known := describe(name)) is not None}
    for head in _HEADS:
        precision, recall = found.get(f"{head.prefix}precision"), found.get(f"{head.prefix}recall")
        if precision is not None and recall is not None:
            found[f"{head.prefix}f1"] = f1(precision, recall)
    if "lr_pg0" in found:
        found["lr"] = found["lr_pg0"]
    return found


def f1(precision: float, recall: float) -> float:
    """Harmonic mean 2PR / (P + R) of two ratios; 0 when both are 0 (van Rijsbergen, Information Retrieval, 1979,
    chapter 7: E = 1 - F)."""
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0
