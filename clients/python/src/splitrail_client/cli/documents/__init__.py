"""The JSON documents of `-o json`: flat, snake_case, numbers as numbers. `run watch` prints the gateway's own messages instead."""

from .data import dataset, difference_name, differences, draft_change, draft_classes, export_report, field_name, import_report, problem, version
from .jobs import argument, artifact, confusion_counts, epoch, evaluation, evaluation_reference, log_line, plot, run, state
from .splits import comparison, leak, part_name, split
from .words import time_text, word

__all__ = [
    "argument",
    "artifact",
    "comparison",
    "confusion_counts",
    "dataset",
    "difference_name",
    "differences",
    "draft_change",
    "draft_classes",
    "epoch",
    "evaluation",
    "evaluation_reference",
    "export_report",
    "field_name",
    "import_report",
    "leak",
    "log_line",
    "part_name",
    "plot",
    "problem",
    "run",
    "split",
    "state",
    "time_text",
    "version",
    "word",
]
