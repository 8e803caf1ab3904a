"""The evaluation record as a message that fits, however many classes there are."""

import pytest
from splitrail_pod.exchange.messages import (
    ClassCurve,
    ClassMetrics,
    ConfusionMatrix,
    Curve,
    CurveName,
    EvaluationRecord,
    Metric,
)
from splitrail_pod.supervisor.results.evaluation import result_of

MESSAGE_LIMIT = 4 * 1024 * 1024
METRICS: dict[Metric, float] = {"mAP50": 0.5, "mAP50_95": 0.4, "precision": 0.6, "recall": 0.7, "f1": 0.65}
CURVES: tuple[CurveName, ...] = ("precision_recall", "f1_confidence", "precision_confidence", "recall_confidence")
POINTS = (0.5,) * 101


def record(classes: int) -> EvaluationRecord:
    names = [f"class {index}" for index in range(classes)]
    lines = tuple(ClassCurve(class_id=index, class_name=name, y=POINTS) for index, name in enumerate(names))
    return EvaluationRecord(
        part="test",
        images=5000,
        instances=50_000,
        values={},
        overall=METRICS,
        per_class=tuple(
            ClassMetrics(class_id=index, class_name=name, images=3, instances=9, metrics=METRICS)
            for index, name in enumerate(names)
        ),
        confusion_matrix=ConfusionMatrix(
            class_names=(*names, "background"), counts=(1.0,) * (classes + 1) ** 2, confidence=0.25, iou=0.45
        ),
        curves=tuple(
            Curve(name=name, x_title="Recall", y_title="Precision", x=POINTS, classes=lines) for name in CURVES
        ),
        speed={"inference": 2.0},
    )


@pytest.mark.parametrize(
    ("classes", "curves", "matrix"), [(3, True, True), (365, True, True), (500, False, True), (1203, False, False)]
)
def test_what_does_not_fit_is_left_out_and_the_numbers_stay(classes: int, curves: bool, matrix: bool) -> None:
    result = result_of(record(classes))
    assert result.ByteSize() < MESSAGE_LIMIT
    assert (len(result.curves) == 4, result.HasField("confusion_matrix")) == (curves, matrix)
    assert (len(result.classes), dict(result.overall)) == (classes, METRICS)
