"""What requests may hold: arguments in range, or named."""

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_common.training.arguments import REFUSED, TRAINING
from splitrail_trainer.arguments.resolve import resolve_evaluation, resolve_training

HYPERPARAMETERS = {item.name: item for item in TRAINING}


def test_nothing_here_imports_torch():
    program = "import splitrail_trainer.app, sys; sys.exit(len({'torch', 'ultralytics'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def problem(**arguments) -> dict[str, str]:
    return {item.field: item.description for item in resolve_training(arguments).violations}


def test_nothing_requested_gives_the_defaults():
    resolved = resolve_training({})
    assert resolved.arguments == {hyperparameter.name: hyperparameter.default for hyperparameter in TRAINING}
    assert (list(resolved.violations), list(resolved.warnings)) == ([], [])


def test_whole_numbers_of_json_are_integers():
    resolved = resolve_training({"epochs": 20.0, "lr0": 0.01, "mosaic": 1})
    assert resolved.arguments["epochs"] == 20
    assert isinstance(resolved.arguments["epochs"], int)
    assert isinstance(resolved.arguments["mosaic"], float)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", True),
        ("epochs", "20"),
        ("epochs", 20.5),
        ("epochs", 0),
        ("epochs", 1001),
        ("epochs", math.nan),
        ("epochs", math.inf),
        ("epochs", 1e300),
        ("epochs", None),
        ("epochs", [20]),
        ("batch", -1),
        ("batch", 0),
        ("imgsz", 100),
        ("imgsz", 99999),
        ("box", -5),
        ("box", math.nan),
        ("scale", [5, 2]),
        ("optimizer", "Foo"),
        ("optimizer", 3),
        ("deterministic", 1),
        ("deterministic", "true"),
        ("amp", "fp8"),
        ("fraction", 0),
        ("lr0", False),
        ("seed", 2**31),
        ("perspective", {"a": 1}),
        ("data", "/tmp/x.yaml"),
        ("split", "test"),
        ("project", "../../x"),
        ("workers", 999),
        ("time", -1),
        ("single_cls", True),
        ("pretrained", "http://169.254.169.254/"),
        ("epoch", 3),
        ("", 3),
    ],
)
def test_a_wrong_value_is_refused_by_name(name, value):
    found = problem(**{name: value})
    assert list(found) == [f"arguments.{name}"]
    assert found[f"arguments.{name}"]


def test_all_problems_are_named_at_once_and_a_misspelt_name_is_guessed():
    found = problem(epoch=3, batch=0, model="x")
    assert found["arguments.epoch"].endswith("did you mean epochs?")
    assert set(found) == {"arguments.epoch", "arguments.batch", "arguments.model"}


def test_close_mosaic_fits_into_the_epochs():
    assert "at most epochs (5)" in problem(epochs=5, close_mosaic=6)["arguments.close_mosaic"]
    assert resolve_training({"epochs": 5}).arguments["close_mosaic"] == 0
    assert resolve_training({"epochs": 10}).arguments["close_mosaic"] == 10
    assert resolve_training({"epochs": 5, "close_mosaic": 5}).arguments["close_mosaic"] == 5


def test_warnings_say_what_is_without_effect():
    assert "lr0 is ignored" in resolve_training({"lr0": 0.02}).warnings[0]
    assert resolve_training({"lr0": 0.02, "optimizer": "AdamW"}).warnings == []
    assert any("warm-up" in text for text in resolve_training({"epochs": 2}).warnings)


def test_ultralytics_own_spelling_of_amp():
    assert resolve_training({"amp": False}).arguments["amp"] == "fp32"
    assert resolve_training({"amp": True}).arguments["amp"] == "fp16"


VALUES = (
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8) | st.lists(st.integers(), max_size=2)
)


@given(st.dictionaries(st.sampled_from([*HYPERPARAMETERS, *REFUSED]) | st.text(max_size=12), VALUES, max_size=6))
def test_whatever_is_requested_is_either_in_range_or_named(requested):
    resolved = resolve_training(requested)
    named = {item.field.removeprefix("arguments.") for item in resolved.violations}
    assert resolved.arguments.keys() == HYPERPARAMETERS.keys()
    assert requested.keys() - HYPERPARAMETERS.keys() <= named
    for name, value in resolved.arguments.items():
        hyperparameter = HYPERPARAMETERS[name]
        if hyperparameter.minimum is not None and hyperparameter.maximum is not None:
            assert not isinstance(value, bool)
            assert hyperparameter.minimum <= value <= hyperparameter.maximum


def test_an_evaluation_takes_the_size_of_its_run_and_five_arguments():
    assert resolve_evaluation({}, imgsz=128).arguments == {
        "imgsz": 128,
        "batch": 16,
        "conf": 0.001,
        "iou": 0.7,
        "max_det": 300,
    }
    refused = resolve_evaluation({"half": True, "conf": 2, "imgsz": 33}, imgsz=128).violations
    assert [item.field for item in refused] == ["arguments.conf", "arguments.half", "arguments.imgsz"]
