"""What the demo trains with: short on one core, and safe across seeds rather than lucky on one.

A small batch with nbs = batch gives a tiny data set enough optimizer steps (Ultralytics otherwise accumulates up to 64
images for each), and mosaic is off because it needs more epochs than a demo has.

Test mAP50 of the best weights, yolov8n from scratch on the generated shapes (210 train, 45 val, 45 test images), each
seed with a split of its own:

    seed          0      1      2      3      4      5
    10 epochs   0.823  0.928  0.953  0.844  0.886  0.636
    12 epochs   0.914  0.967  0.930  0.918    -    0.731
    20 epochs   0.995  0.995

Twelve epochs take about 65 CPU seconds on one core, start and plots included.
"""

from __future__ import annotations

MODEL = "yolov8n"

Arguments = dict[str, int | float | str]

_COMMON: Arguments = {
    "batch": 8,
    "nbs": 8,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 1,
    "mosaic": 0.0,
    "close_mosaic": 0,
}

SHAPES: Arguments = {"epochs": 12, "imgsz": 128, **_COMMON}
"""For the generated shapes."""

OWN_DATA: Arguments = {"epochs": 15, "imgsz": 256, **_COMMON}
"""For `make demo DATA=path`. 364 blood cell images (BCCD) of 640x480 pixels take about 4 CPU minutes and reach a test
mAP50 of about 0.84.
"""
