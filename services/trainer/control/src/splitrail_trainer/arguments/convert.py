"""Proto <-> domain: arguments and their descriptions."""

from collections.abc import Mapping

from google.protobuf import struct_pb2
from google.protobuf.internal.containers import MessageMap
from splitrail.trainer.v1 import run_service_pb2
from splitrail_common.training.arguments import Group, Hyperparameter, Value, ValueType

_TYPES: Mapping[ValueType, run_service_pb2.ArgumentType.ValueType] = {
    ValueType.INTEGER: run_service_pb2.ARGUMENT_TYPE_INTEGER,
    ValueType.NUMBER: run_service_pb2.ARGUMENT_TYPE_NUMBER,
    ValueType.BOOLEAN: run_service_pb2.ARGUMENT_TYPE_BOOLEAN,
    ValueType.ENUM: run_service_pb2.ARGUMENT_TYPE_ENUM,
}


_GROUPS: Mapping[Group, run_service_pb2.ArgumentGroup.ValueType] = {
    Group.CORE: run_service_pb2.ARGUMENT_GROUP_CORE,
    Group.OPTIMIZER: run_service_pb2.ARGUMENT_GROUP_OPTIMIZER,
    Group.LOSS: run_service_pb2.ARGUMENT_GROUP_LOSS,
    Group.AUGMENTATION: run_service_pb2.ARGUMENT_GROUP_AUGMENTATION,
    Group.VALIDATION: run_service_pb2.ARGUMENT_GROUP_VALIDATION,
}


def arguments(values: Mapping[str, struct_pb2.Value]) -> dict[str, object]:
    """A request's arguments as bool, float, str, None, dict or list."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: struct_pb2.Value) -> object:
    kind = value.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    if kind == "struct_value":
        return {name: _plain(field) for name, field in value.struct_value.fields.items()}
    return [_plain(item) for item in value.list_value.values] if kind == "list_value" else getattr(value, kind)


def fill(target: MessageMap[str, struct_pb2.Value], values: Mapping[str, Value]) -> None:
    """Puts arguments into a message's map."""
    for name, value in values.items():
        target[name].CopyFrom(_value(value))


def _value(value: Value) -> struct_pb2.Value:
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    return struct_pb2.Value(string_value=value) if isinstance(value, str) else struct_pb2.Value(number_value=value)


def descriptor(hyperparameter: Hyperparameter) -> run_service_pb2.ArgumentDescriptor:
    """A hyperparameter as clients see it."""
    return run_service_pb2.ArgumentDescriptor(
        name=hyperparameter.name,
        group=_GROUPS[hyperparameter.group],
        type=_TYPES[hyperparameter.type],
        default_value=_value(hyperparameter.default),
        minimum=hyperparameter.minimum,
        maximum=hyperparameter.maximum,
        choices=hyperparameter.choices,
        help=hyperparameter.help,
        multiple_of=hyperparameter.multiple_of,
    )
