"""Proto <-> domain: parts of a split."""

from collections.abc import Mapping

from splitrail.split.v1 import dataset_pb2

from splitrail_trainer.data.domain import Part

PARTS: Mapping[Part, dataset_pb2.Part.ValueType] = {
    Part.TRAIN: dataset_pb2.PART_TRAIN,
    Part.VAL: dataset_pb2.PART_VAL,
    Part.TEST: dataset_pb2.PART_TEST,
}
PARTS_BACK: Mapping[int, Part] = {number: part for part, number in PARTS.items()}
