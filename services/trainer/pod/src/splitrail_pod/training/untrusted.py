"""Input from outside, checked before Ultralytics gets it: weights files and arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.cfg import CFG_INT_KEYS, get_cfg
from ultralytics.nn.tasks import DetectionModel, torch_safe_load

from splitrail_pod.exchange.messages import JobFailureCause
from splitrail_pod.training.failures import JobFailedError

_INTEGERS = frozenset(CFG_INT_KEYS) | {"batch", "imgsz", "freeze"}


def check_weights(path: Path) -> dict[str, Any]:
    """Load a `.pt` through the restricted unpickler and return it. Raises JobFailedError when it is damaged, or holds
    anything but a detection model.

    Ultralytics later opens the same file with the unrestricted one in places; nothing that passed here executes there.
    """
    try:
        loaded, _ = torch_safe_load(str(path), safe_only=True)
    except Exception as error:  # whatever a hostile file causes, the file is at fault
        raise JobFailedError(
            JobFailureCause.CHECKPOINT, f"{path.name} cannot be loaded safely: {type(error).__name__}: {error}"
        ) from error
    model = (loaded.get("ema") or loaded.get("model")) if isinstance(loaded, dict) else None
    if not isinstance(loaded, dict) or not isinstance(model, DetectionModel):
        raise JobFailedError(JobFailureCause.CHECKPOINT, f"{path.name} holds no Ultralytics detection model")
    return loaded


def check_arguments(arguments: dict[str, Any]) -> None:
    """Check that Ultralytics accepts `arguments`. Raises JobFailedError with its message: the hyperparameter schema let
    something pass.
    """
    try:
        get_cfg(overrides=arguments)
    except (SyntaxError, TypeError, ValueError) as error:  # an unknown name, a wrong type, a value out of range
        raise JobFailedError(JobFailureCause.ARGUMENTS, f"Ultralytics refuses the arguments: {error}") from error


def whole_numbers(arguments: dict[str, Any]) -> dict[str, Any]:
    """`arguments` with 20.0 as 20 where Ultralytics wants an integer: JSON and protobuf values know only one kind of
    number.
    """
    return {
        name: int(value) if name in _INTEGERS and isinstance(value, float) and value.is_integer() else value
        for name, value in arguments.items()
    }
