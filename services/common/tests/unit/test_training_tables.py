"""The table of arguments against Ultralytics' own file."""

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from splitrail_common.training.arguments import (
    EVALUATION,
    REFUSED,
    SET_BY_PLATFORM,
    TRAINING,
    ULTRALYTICS_VERSION,
    ValueType,
)
from splitrail_common.training.models import DETECT_MODELS, yaml_name

ULTRALYTICS = importlib.util.find_spec("ultralytics")
needs_ultralytics = pytest.mark.skipif(
    ULTRALYTICS is None, reason="needs the Ultralytics package (the pod's) to compare with"
)
HYPERPARAMETERS = {hyperparameter.name: hyperparameter for hyperparameter in TRAINING}
SPELT_OTHERWISE = {"amp": {True: "fp16"}, "freeze": {None: 0}}


def package() -> Path:
    assert ULTRALYTICS is not None
    assert ULTRALYTICS.origin is not None
    return Path(ULTRALYTICS.origin).parent


@pytest.fixture(scope="module")
def defaults() -> dict[str, object]:
    return yaml.safe_load((package() / "cfg" / "default.yaml").read_text())


@needs_ultralytics
def test_every_key_of_ultralytics_is_a_hyperparameter_or_refused_with_a_reason(defaults):
    ours = HYPERPARAMETERS.keys() | REFUSED.keys()
    assert defaults.keys() - ours == set()
    assert ours - defaults.keys() <= {"save_dir", "augmentations"}, "names that Ultralytics accepts beside its file"
    assert HYPERPARAMETERS.keys() & REFUSED.keys() == set()


@needs_ultralytics
@pytest.mark.parametrize("hyperparameter", TRAINING, ids=lambda hyperparameter: hyperparameter.name)
def test_defaults_are_those_of_ultralytics(hyperparameter, defaults):
    theirs = SPELT_OTHERWISE.get(hyperparameter.name, {}).get(
        defaults[hyperparameter.name], defaults[hyperparameter.name]
    )
    assert hyperparameter.default == theirs
    assert (
        type(hyperparameter.default)
        in {ValueType.INTEGER: {int}, ValueType.NUMBER: {float}, ValueType.BOOLEAN: {bool}, ValueType.ENUM: {str}}[
            hyperparameter.type
        ]
    )


@needs_ultralytics
def test_the_version_is_the_installed_one():
    names = importlib.metadata.packages_distributions()["ultralytics"]
    assert ULTRALYTICS_VERSION in {importlib.metadata.version(name) for name in names}


@needs_ultralytics
def test_each_model_family_is_in_the_package():
    files = {path.stem for path in (package() / "cfg" / "models").rglob("*.yaml")}
    assert {name[:-1] for name in DETECT_MODELS} <= files


def test_the_tables_import_no_torch():
    program = "import splitrail_common.training.arguments, splitrail_common.training.models, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("table", [TRAINING, EVALUATION])
def test_every_hyperparameter_has_a_type_a_range_and_help(table):
    for hyperparameter in table:
        assert hyperparameter.help.endswith("."), hyperparameter.name
        assert (hyperparameter.minimum is not None) == (hyperparameter.type in {ValueType.INTEGER, ValueType.NUMBER}), (
            hyperparameter.name
        )
        assert bool(hyperparameter.choices) == (hyperparameter.type is ValueType.ENUM), hyperparameter.name
        if hyperparameter.minimum is not None and hyperparameter.maximum is not None:
            assert hyperparameter.minimum <= hyperparameter.default <= hyperparameter.maximum, hyperparameter.name


def test_what_the_platform_sets_is_refused():
    assert REFUSED.keys() > SET_BY_PLATFORM
    assert {"data", "project", "resume", "device", "val"} < SET_BY_PLATFORM


def test_models_are_names_not_files():
    assert len(DETECT_MODELS) == 20
    assert yaml_name("yolo26x") == "yolo26x.yaml"
    for name in ("yolov8n.yaml", "../x", "http://x/yolov8n", ""):
        with pytest.raises(ValueError, match="unknown model"):
            yaml_name(name)
