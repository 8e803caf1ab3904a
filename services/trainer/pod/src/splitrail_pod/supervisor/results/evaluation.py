"""The training process's `evaluation` record as the platform's EvaluationResult."""

from typing import get_args

from splitrail.split.v1 import dataset_pb2
from splitrail.trainer.v1 import evaluation_pb2

from splitrail_pod.exchange.messages import EvaluationRecord, Metric

_METRICS: tuple[Metric, ...] = get_args(Metric)
_MAX_BYTES = 3 * 1024 * 1024  # gRPC takes messages of 4 MiB
_PARTS = {"train": dataset_pb2.PART_TRAIN, "val": dataset_pb2.PART_VAL, "test": dataset_pb2.PART_TEST}


def result_of(record: EvaluationRecord) -> evaluation_pb2.EvaluationResult:
    """The result; classes that do not occur have no metrics. Raises KeyError when the record lacks a canonical metric.

    Of hundreds of classes the curves, and then the confusion matrix, do not fit into a message and are left out: their
    plots hold them too.
    """
    matrix = record.confusion_matrix
    result = evaluation_pb2.EvaluationResult(
        part=_PARTS[record.part],
        images=record.images,
        objects=record.instances,
        overall={name: record.overall[name] for name in _METRICS},
        classes=[
            evaluation_pb2.ClassResult(
                class_name=one.class_name,
                images=one.images,
                objects=one.instances,
                metrics={name: one.metrics[name] for name in _METRICS if name in one.metrics},
            )
            for one in record.per_class
        ],
        confusion_matrix=evaluation_pb2.ConfusionMatrix(
            class_names=matrix.class_names[:-1],  # without the background, which is last in the record too
            counts=matrix.counts,
            confidence=matrix.confidence,
        ),
        curves=[
            evaluation_pb2.Curve(
                name=curve.name,
                x_title=curve.x_title,
                y_title=curve.y_title,
                x=curve.x,
                classes=[evaluation_pb2.ClassCurve(class_name=one.class_name, y=one.y) for one in curve.classes],
            )
            for curve in record.curves
        ],
        speed_ms=record.speed,
    )
    if result.ByteSize() > _MAX_BYTES:
        result.ClearField("curves")
    if result.ByteSize() > _MAX_BYTES:
        result.ClearField("confusion_matrix")
    return result
