"""The files that a finished job leaves, plots and artifacts, as records."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from pathlib import Path

from splitrail_pod.exchange.messages import ArtifactRecord, ArtifactRole, ImageType, PlotKind, PlotRecord, StoredFile
from splitrail_pod.exchange.spool import SpoolWriter

_CHUNK = 1 << 20
_THREADS_SECONDS = 300.0

_PLOTS: tuple[tuple[str, PlotKind, str], ...] = (
    (r"labels\.jpg", "labels", "Labels of the training images"),
    (r"train_batch(\d+)\.jpg", "train_batch", "Training batch {0}, augmented"),
    (r"val_batch(\d+)_labels\.jpg", "val_batch", "Batch {0}: labels"),
    (r"val_batch(\d+)_pred\.jpg", "val_batch", "Batch {0}: predictions"),
    (r"confusion_matrix\.png", "confusion_matrix", "Confusion matrix"),
    (r"confusion_matrix_normalized\.png", "confusion_matrix", "Confusion matrix, normalized"),
    (r"BoxPR_curve\.png", "curve", "Precision over recall"),
    (r"BoxF1_curve\.png", "curve", "F1 over confidence"),
    (r"BoxP_curve\.png", "curve", "Precision over confidence"),
    (r"BoxR_curve\.png", "curve", "Recall over confidence"),
    (r"results\.png", "results", "Losses and metrics by epoch"),
)
"""Pattern of the file name, kind, title with the pattern's groups."""
_CONTENT_TYPES: dict[str, ImageType] = {".png": "image/png", ".jpg": "image/jpeg"}

_ARTIFACTS: tuple[tuple[ArtifactRole, str], ...] = (
    ("weights_best", "weights/best.pt"),
    ("weights_last", "weights/last.pt"),
    ("results_csv", "results.csv"),
    ("args", "args.yaml"),
)


def join_plot_threads() -> None:
    """Wait for Ultralytics' plot threads: image mosaics appear after the call that makes them. Raises TimeoutError."""
    deadline = time.monotonic() + _THREADS_SECONDS
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise TimeoutError(f"the plot thread {thread.name} still runs after {_THREADS_SECONDS:.0f} s")


def record_plots(spool: SpoolWriter, directory: Path) -> None:
    """Append a `plot` record for each plot in `directory`, in a stable order."""
    found: list[tuple[int, list[int], PlotRecord]] = []
    for path in directory.iterdir():
        for rank, (pattern, kind, title) in enumerate(_PLOTS):
            if match := re.fullmatch(pattern, path.name):
                record = PlotRecord(
                    plot=kind,
                    title=title.format(*match.groups()),
                    content_type=_CONTENT_TYPES[path.suffix],
                    file=_measured(path),
                )
                found.append((rank, [int(group) for group in match.groups()], record))
    for _, _, record in sorted(found, key=lambda item: item[:2]):
        spool.append(record)


def record_artifacts(spool: SpoolWriter, directory: Path) -> None:
    """Append an `artifact` record for each result file of a training."""
    for role, name in _ARTIFACTS:
        spool.append(ArtifactRecord(role=role, file=_measured(directory / name)))


def _measured(path: Path) -> StoredFile:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return StoredFile(path=path, size_bytes=size, sha256=digest.hexdigest())
