"""Checks arguments against the table and fills in the defaults: pure, and every problem is reported at once."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitrail_common.errors import Violation
from splitrail_common.training.arguments import EVALUATION, REFUSED, TRAINING, Hyperparameter, Value, ValueType

_AMP_ALIASES = {True: "fp16", False: "fp32"}
"""Ultralytics' own amp=True and amp=False, as people write them."""


@dataclass(frozen=True)
class Resolved:
    """Arguments with the defaults filled in. `violations` not empty: they must not be used."""

    arguments: Mapping[str, Value]
    violations: Sequence[Violation]
    warnings: Sequence[str] = ()


def resolve_training(requested: Mapping[str, object]) -> Resolved:
    """All arguments of a training, by name."""
    given, violations = _checked(TRAINING, requested, REFUSED, "a training argument")
    arguments = {argument.name: argument.default for argument in TRAINING} | given
    epochs, close_mosaic = int(arguments["epochs"]), int(arguments["close_mosaic"])
    if "close_mosaic" in given and close_mosaic > epochs:
        violations.append(Violation("arguments.close_mosaic", f"at most epochs ({epochs}), not {close_mosaic}"))
    elif close_mosaic > epochs:
        # As Ultralytics does with its default of 10 in a shorter run: mosaic to the end. Explicit, because a resumed
        # run would end mosaic at once.
        arguments["close_mosaic"] = 0
    return Resolved(arguments, violations, _warnings(given, arguments))


def resolve_evaluation(requested: Mapping[str, object], *, imgsz: int) -> Resolved:
    """All arguments of an evaluation, by name; `imgsz` (pixels) is the run's."""
    given, violations = _checked(EVALUATION, requested, {}, "an evaluation argument")
    return Resolved({argument.name: argument.default for argument in EVALUATION} | {"imgsz": imgsz} | given, violations)


def _checked(
    table: Sequence[Hyperparameter], requested: Mapping[str, object], refused: Mapping[str, str], what: str
) -> tuple[dict[str, Value], list[Violation]]:
    known = {argument.name: argument for argument in table}
    given: dict[str, Value] = {}
    violations: list[Violation] = []
    for name in sorted(requested):
        field = f"arguments.{name}"
        argument = known.get(name)
        if name in refused:
            violations.append(Violation(field, refused[name]))
        elif argument is None:
            near = difflib.get_close_matches(name, known, n=1)
            violations.append(
                Violation(
                    field,
                    f"is not {what}"
                    + (f"; did you mean {near[0]}?" if near else f"; one of {', '.join(sorted(known))}"),
                )
            )
        else:
            value = _normal(argument, requested[name])
            problem = _problem(argument, value)
            if problem:
                violations.append(Violation(field, problem))
            elif isinstance(value, bool | int | float | str):
                given[name] = value
    return given, violations


def _normal(argument: Hyperparameter, value: object) -> object:
    """Whole numbers as int where one is due (JSON has only one kind of number), amp's booleans by name, ints as float
    where any number will do.
    """
    if argument.name == "amp" and isinstance(value, bool):
        return _AMP_ALIASES[value]
    if isinstance(value, float) and argument.type is ValueType.INTEGER and value.is_integer():
        return int(value)
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and argument.type is ValueType.NUMBER
        and abs(value) < 2**53
    ):
        return float(value)
    return value


def _problem(argument: Hyperparameter, value: object) -> str | None:
    """What is wrong with a value, or None."""
    if value is None:
        return "is null: leave it out for the default"
    if argument.type is ValueType.BOOLEAN:
        return None if isinstance(value, bool) else f"true or false, not {_shown(value)}"
    if argument.type is ValueType.ENUM:
        return (
            None
            if isinstance(value, str) and value in argument.choices
            else f"one of {', '.join(argument.choices)}, not {_shown(value)}"
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"a number, not {_shown(value)}"
    if not math.isfinite(value):
        return f"a finite number, not {value}"
    if argument.type is ValueType.INTEGER and not isinstance(value, int):
        return f"a whole number, not {value}"
    if (argument.minimum is not None and value < argument.minimum) or (
        argument.maximum is not None and value > argument.maximum
    ):
        return f"between {argument.minimum:.10g} and {argument.maximum:.10g}, not {value:.10g}"
    if argument.multiple_of and value % argument.multiple_of:
        return f"a multiple of {argument.multiple_of}, not {value}"
    return None


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    return "a list or an object" if isinstance(value, list | dict) else str(value)


def _warnings(given: Mapping[str, Value], arguments: Mapping[str, Value]) -> list[str]:
    """What is allowed but probably not meant."""
    found = []
    if arguments["optimizer"] == "auto":
        found += [
            f"{name} is ignored with optimizer=auto, which chooses its own: name an optimizer"
            for name in ("lr0", "momentum")
            if name in given
        ]
    if float(arguments["warmup_epochs"]) >= int(arguments["epochs"]) > 0 and (
        "warmup_epochs" in given or "epochs" in given
    ):
        found.append(
            f"all {arguments['epochs']} epochs are warm-up: lower warmup_epochs ({arguments['warmup_epochs']:g})"
        )
    if int(arguments["batch"]) < int(arguments["nbs"]) / 8 and "batch" in given and "nbs" not in given:
        found.append(
            f"gradients accumulate over {int(arguments['nbs']) // int(arguments['batch'])} batches: lower nbs for more steps"
        )
    return found
