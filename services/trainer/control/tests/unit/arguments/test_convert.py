"""Arguments of requests as plain values."""

from google.protobuf import struct_pb2
from splitrail_trainer.arguments import convert


def test_values_of_requests():
    listed = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[struct_pb2.Value(number_value=1)]))
    values = {
        "n": struct_pb2.Value(number_value=1.5),
        "b": struct_pb2.Value(bool_value=True),
        "s": struct_pb2.Value(string_value="x"),
        "z": struct_pb2.Value(null_value=struct_pb2.NULL_VALUE),
        "none": struct_pb2.Value(),
    }
    assert convert.arguments(values) == {"n": 1.5, "b": True, "s": "x", "z": None, "none": None}
    assert isinstance(convert.arguments({"l": listed})["l"], list)


def test_an_object_may_hold_what_json_cannot():
    """It is refused as an object, by name, not as a defect of ours."""
    held = struct_pb2.Struct(fields={"a": struct_pb2.Value(number_value=float("inf")), "none": struct_pb2.Value()})
    assert convert.arguments({"imgsz": struct_pb2.Value(struct_value=held)}) == {
        "imgsz": {"a": float("inf"), "none": None}
    }
