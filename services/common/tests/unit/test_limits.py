"""Each kind of limit, on each shape of field, is enforced and named; a limit that does not fit its field stops the
start."""

import math

import pytest
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from splitrail.api.v1 import limits_pb2
from splitrail_common.limits import LimitsError, RequestRules

Field = descriptor_pb2.FieldDescriptorProto
STRING, BYTES, INT, DOUBLE, MESSAGE, ENUM = (
    Field.TYPE_STRING, Field.TYPE_BYTES, Field.TYPE_INT64, Field.TYPE_DOUBLE, Field.TYPE_MESSAGE, Field.TYPE_ENUM,
)  # fmt: skip


def declared(field: Field, required: bool = False, **limits: object) -> Field:
    if required:
        field.options.Extensions[field_behavior_pb2.field_behavior].append(field_behavior_pb2.REQUIRED)
    if limits:
        field.options.Extensions[limits_pb2.limits].CopyFrom(limits_pb2.Limits(**limits))
    return field


def built(*fields: Field, entries: tuple[descriptor_pb2.DescriptorProto, ...] = ()):
    file = descriptor_pb2.FileDescriptorProto(name="limits_test.proto", package="t", syntax="proto3")
    file.message_type.append(descriptor_pb2.DescriptorProto(name="M", field=fields, nested_type=entries))
    file.message_type[0].oneof_decl.extend(
        descriptor_pb2.OneofDescriptorProto(name=f"_{field.name}") for field in fields if field.HasField("oneof_index")
    )
    kind = file.enum_type.add(name="E")
    kind.value.add(name="E_UNSPECIFIED", number=0)
    kind.value.add(name="E_ONE", number=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindMessageTypeByName("t.M")


def field(name: str, number: int, kind: int, *, repeated: bool = False, type_name: str = "") -> Field:
    label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
    return Field(name=name, number=number, type=kind, label=label, type_name=type_name or None)


def wrong(descriptor, **values: object) -> dict[str, str]:
    request = GetMessageClass(descriptor)(**values)
    return {
        item.field: item.description
        for item in RequestRules(descriptor).violations(request, request.SerializeToString())
    }


TEXT = built(
    declared(
        field("name", 1, STRING),
        required=True,
        min_length=2,
        max_length=4,
        pattern="[a-z]+",
        pattern_means="small letters",
    ),
    declared(field("id", 2, STRING), uuid=True),
    declared(field("data", 3, BYTES), max_length=2),
    field("free", 4, STRING),
)
UUID = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"name": "abc"}, {}),
        ({"name": "abc", "id": UUID, "data": b"ab"}, {}),
        ({}, {"name": "is required"}),
        ({"name": "a"}, {"name": "at least 2 characters, not 1"}),
        ({"name": "abcde"}, {"name": "at most 4 characters, not 5"}),
        ({"name": "\u00e9" * 4}, {"name": "must be small letters"}),
        ({"name": "ab\n"}, {"name": "must be small letters"}),
        ({"name": "abc", "id": UUID.upper()}, {"id": "must be a UUID, in lower case"}),
        ({"name": "abc", "data": b"abc"}, {"data": "at most 2 bytes, not 3: upload what is larger"}),
        (
            {"name": "ABC", "id": "x", "free": "a\0b"},
            {"name": "must be small letters", "id": "must be a UUID, in lower case", "free": "holds a NUL character"},
        ),
        ({"name": "abc", "data": b"\0"}, {}),
    ],
)
def test_texts(values, named):
    assert wrong(TEXT, **values) == named


NUMBERS = built(
    declared(field("size", 1, INT), minimum=0, maximum=10),
    declared(field("ratio", 2, DOUBLE), minimum=0, maximum=1),
    declared(
        Field(name="rest", number=3, type=INT, label=Field.LABEL_OPTIONAL, proto3_optional=True, oneof_index=0),
        minimum=1,
    ),
    field("kind", 4, ENUM, type_name=".t.E"),
)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"size": 10, "ratio": 1.0, "rest": 1, "kind": 1}, {}),
        ({}, {}),
        ({"size": -1, "ratio": 1.5}, {"size": "must be 0 to 10, not -1", "ratio": "must be 0 to 1, not 1.5"}),
        ({"ratio": math.nan}, {"ratio": "must be 0 to 1, not nan"}),
        ({"rest": 0}, {"rest": "must be at least 1, not 0"}),
        ({"kind": 7}, {"kind": "has no value 7"}),
        ({"kind": -1}, {"kind": "has no value -1"}),
    ],
)
def test_numbers_and_enums(values, named):
    assert wrong(NUMBERS, **values) == named


def test_a_required_number_that_is_not_set_is_judged_as_zero():
    kind = built(
        declared(field("size", 1, INT), required=True, minimum=1), declared(field("count", 2, INT), required=True)
    )
    assert wrong(kind) == {"size": "must be at least 1, not 0", "count": "is required"}


def map_entry(name: str, key: int, value: Field) -> descriptor_pb2.DescriptorProto:
    entry = descriptor_pb2.DescriptorProto(name=name, field=[field("key", 1, key), value])
    entry.options.map_entry = True
    return entry


NESTED = built(
    declared(field("ids", 1, STRING, repeated=True), required=True, max_items=2, uuid=True),
    declared(field("labels", 2, MESSAGE, repeated=True, type_name=".t.M.LabelsEntry"), max_items=2, max_length=3),
    field("children", 3, MESSAGE, repeated=True, type_name=".t.M"),
    field("by_name", 4, MESSAGE, repeated=True, type_name=".t.M.ByNameEntry"),
    entries=(
        map_entry("LabelsEntry", STRING, field("value", 2, STRING)),
        map_entry("ByNameEntry", STRING, field("value", 2, MESSAGE, type_name=".t.M")),
    ),
)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"ids": [UUID]}, {}),
        ({"ids": [UUID, "x"]}, {"ids[1]": "must be a UUID, in lower case"}),
        ({"ids": ["x"] * 3}, {"ids": "at most 2 entries, not 3"}),
        ({"ids": [UUID], "labels": {"a": "long"}}, {"labels[a]": "at most 3 characters, not 4"}),
        ({"ids": [UUID], "labels": dict.fromkeys("abc", "x")}, {"labels": "at most 2 entries, not 3"}),
        ({"ids": [UUID], "labels": {"a\0": "x"}}, {"labels[a\0]": "its key holds a NUL character"}),
        (
            {"ids": [UUID], "children": [{"ids": [UUID], "children": [{}]}]},
            {"children[0].children[0].ids": "is required"},
        ),
        ({"ids": [UUID], "by_name": {"k": {}}}, {"by_name[k].ids": "is required"}),
    ],
)
def test_lists_maps_and_messages_within_messages(values, named):
    assert wrong(NESTED, **values) == named


def test_a_flood_of_violations_is_cut_short():
    rules = RequestRules(NESTED)
    request = GetMessageClass(NESTED)(ids=[UUID], children=[{}] * 100_000)
    assert len(rules.violations(request, request.SerializeToString())) == 100


@pytest.mark.parametrize(
    ("of", "limits"),
    [
        (field("f", 1, INT), {"max_length": 3}),
        (field("f", 1, STRING), {"minimum": 0}),
        (field("f", 1, STRING), {"max_items": 3}),
        (field("f", 1, BYTES), {"pattern": "a", "pattern_means": "anything"}),
        (field("f", 1, INT), {"uuid": True}),
        (field("f", 1, STRING), {"pattern": "(", "pattern_means": "anything"}),
        (field("f", 1, STRING), {"pattern": "a"}),
        (field("f", 1, STRING), {"pattern_means": "anything"}),
        (field("f", 1, STRING), {"min_length": 3, "max_length": 2}),
        (field("f", 1, DOUBLE), {"minimum": 1, "maximum": 0}),
        (field("f", 1, STRING), {"max_length": -1}),
    ],
)
def test_limits_that_do_not_fit_stop_the_start(of, limits):
    declaring = Field()
    declaring.CopyFrom(of)
    with pytest.raises(LimitsError, match=r"t\.M\.f"):
        RequestRules(built(declared(declaring, **limits)))
