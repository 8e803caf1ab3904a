"""What people write, and identifiers made of it."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_client import references
from splitrail_client.errors import UsageError
from splitrail_client.text import human_seconds, human_size, plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20", 20),
        ("-3", -3),
        ("0.002", 0.002),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("5.", 5.0),
        ("True", True),
        ("false", False),
        ("None", None),
        ("abc", "abc"),
        ("", ""),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("[1,2]", "[1,2]"),
        ("AdamW", "AdamW"),
        ("9" * 30, "9" * 30),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
    ],
)
def test_values(text, value):
    parsed = references.parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_nan_reaches_the_service_as_nan():
    message = references.to_values({"lr0": references.parse_value("nan")})["lr0"]
    assert math.isnan(type(message).FromString(message.SerializeToString()).number_value)


@given(
    st.one_of(st.booleans(), st.none(), st.text(max_size=20), st.integers(-(2**53), 2**53), st.floats(allow_nan=False))
)
def test_values_come_back(value):
    assert references.from_value(references.to_values({"x": value})["x"]) == value


def test_what_no_argument_can_take_is_refused_by_name():
    with pytest.raises(UsageError, match="classes: a list"):
        references.to_values({"classes": [0, 1]})


def test_assignments():
    assert references.parse_assignments(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(UsageError, match="'epochs' is not of the form"):
        references.parse_assignments(["epochs"])
    with pytest.raises(UsageError, match="given twice"):
        references.parse_assignments(["a=1", "a=2"])
    with pytest.raises(UsageError, match="'=1'"):
        references.parse_assignments(["=1"])


def test_parse_evaluation_references():
    assert references.parse_evaluation_reference("cells/17/eval/2") == references.EvaluationReference("cells/17", 2)
    assert references.parse_evaluation_reference("cells/17") is None
    assert references.parse_evaluation_reference("cells/17/eval/0") is None


def test_request_ids_of_imports_depend_on_all_that_matters():
    def identifier(project="p", dataset="d", digest="0", strict=False, dry_run=False):
        return references.import_request_id(project, dataset, digest, strict=strict, dry_run=dry_run)

    different = {
        identifier(),
        identifier(project="q"),
        identifier(dataset="e"),
        identifier(digest="1"),
        identifier(strict=True),
        identifier(dry_run=True),
    }
    assert len(different) == 6
    assert identifier() == identifier()
    assert len(identifier()) <= 128


def test_dataset_names():
    assert references.dataset_name(Path("/data/My cells (v2)")) == "My-cells-v2"
    assert len(references.dataset_name(Path("/" + "a" * 100))) == 64
    with pytest.raises(UsageError, match="--name"):
        references.dataset_name(Path("/data/日本"))


def test_ratios():
    assert references.parse_ratios("0.7,0.15,0.15") == (0.7, 0.15, 0.15)
    with pytest.raises(UsageError, match="numbers"):
        references.parse_ratios("0.7,x")
    with pytest.raises(UsageError, match="three"):
        references.split_ratios([0.5, 0.5])
    for wrong in ([0.7, 0.7, 0.1], [1.2, -0.2, 0.0], [0.5, 0.5, math.nan]):
        with pytest.raises(UsageError, match="add up to 1"):
            references.split_ratios(wrong)
    assert references.split_ratios([1 / 3, 1 / 3, 0.3333333]).test == 0.3333333  # within the service's tolerance


def test_text_is_shown_as_text():
    assert plain("a\x1b[31mred\x07\nb\x9b\u202egpj.exe") == "a[31mred bgpj.exe"
    assert plain("数据 é [bold]") == "数据 é [bold]"


@given(st.text())
def test_plain_text_holds_no_control_character(text):
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in plain(text))


def test_human_numbers():
    assert [human_size(size) for size in (0, 999, 6_234_567, 5_000_000_000_000)] == ["0 B", "999 B", "6.2 MB", "5.0 TB"]
    assert [human_seconds(seconds) for seconds in (0.2, 42, 200, 7500)] == ["0s", "42s", "3m 20s", "2h 05m"]
