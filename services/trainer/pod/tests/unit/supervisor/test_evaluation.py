"""The evaluation record as a message that fits, however many classes there are."""

import pytest
from splitrail_pod.exchange.spool import Record
from splitrail_pod.supervisor.results.evaluation import result_of

MESSAGE_LIMIT = 4 * 1024 * 1024
METRICS = {"mAP50": 0.5, "mAP50_95": 0.4, "precision": 0.6, "recall": 0.7, "f1": 0.65}


def record(classes: int) -> Record:
    names = [f"class {index}" for index in range(classes)]
    curve = {"x_title": "Recall", "y_title": "Precision", "x": [0.5] * 101, "classes": [{"class_name": name, "y": [0.5] * 101} for name in names]}
    return {
        "split": "test",
        "images": 5000,
        "instances": 50_000,
        "overall": METRICS,
        "per_class": [{"class_name": name, "images": 3, "instances": 9, **METRICS} for name in names],
        "confusion_matrix": {"class_names": [*names, "background"], "counts": [1.0] * (classes + 1) ** 2, "confidence": 0.25},
        "curves": [{"name": name, **curve} for name in ("precision_recall", "f1_confidence", "precision_confidence", "recall_confidence")],
        "speed": {"inference": 2.0},
    }


@pytest.mark.parametrize(("classes", "curves", "matrix"), [(3, True, True), (365, True, True), (500, False, True), (1203, False, False)])
def test_what_does_not_fit_is_left_out_and_the_numbers_stay(classes: int, curves: bool, matrix: bool) -> None:
    result = result_of(record(classes))
    assert result.ByteSize() < MESSAGE_LIMIT
    assert (len(result.curves) == 4, result.HasField("confusion_matrix")) == (curves, matrix)
    assert (len(result.classes), dict(result.overall)) == (classes, METRICS)
