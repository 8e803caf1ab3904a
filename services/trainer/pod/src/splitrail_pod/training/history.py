"""The epochs of a run as `epoch` records, and results.csv as a function of them. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from splitrail_pod.exchange.messages import EpochRecord


def csv_row(path: Path) -> tuple[int, float]:
    """Epoch and elapsed seconds of the last row of a results.csv."""
    epoch, elapsed, _ = path.read_text(encoding="utf-8").rstrip("\n").rsplit("\n", 1)[-1].split(",", 2)
    return int(epoch), float(elapsed)


def write_csv(path: Path, history: Sequence[EpochRecord]) -> None:
    """Write results.csv as Ultralytics would have, had one process run all epochs in `history`: it appends to it, and
    plots from it.
    """
    if not history:
        return
    columns = list(history[0].values)
    lines = [",".join(["epoch", "time", *columns])]
    for record in history:
        values = [record.epoch, record.elapsed_seconds, *(record.values.get(column, math.nan) for column in columns)]
        lines.append(",".join(f"{value:.6g}" for value in values))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def best_epoch(history: Sequence[EpochRecord]) -> int | None:
    """The epoch whose weights are best.pt: the last among those with the highest fitness, as Ultralytics keeps it; None
    when no fitness is finite.
    """
    finite = [record for record in history if math.isfinite(record.fitness)]
    return max(finite, key=lambda record: (record.fitness, record.epoch)).epoch if finite else None
