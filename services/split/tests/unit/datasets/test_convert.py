"""Numbers that values and protos share."""

from splitrail.split.v1 import dataset_pb2
from splitrail_split.datasets.convert import PARTS
from splitrail_split.domain.datasets import Task


def test_split_vectors_have_the_numbers_of_the_contract():
    """Requests name parts by these numbers, and they are stored."""
    assert tuple(dataset_pb2.Part.values()) == PARTS
    assert tuple(PARTS) == tuple(range(len(PARTS)))


def test_every_task_of_the_contract_is_known():
    assert {task.name: task.value for task in Task} == {
        name.removeprefix("TASK_"): value for name, value in dataset_pb2.Task.items() if value
    }
