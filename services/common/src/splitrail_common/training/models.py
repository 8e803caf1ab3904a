"""The architectures that can be named. Names, not files: a path, a URL or a user's YAML could run code or reach out."""

_FAMILIES = ("yolov8", "yolo11", "yolo12", "yolo26")
_SCALES = ("n", "s", "m", "l", "x")

DETECT_MODELS: tuple[str, ...] = tuple(f"{family}{scale}" for family in _FAMILIES for scale in _SCALES)
"""yolov8n ... yolo26x, each family from nano to extra large."""


def yaml_name(model: str) -> str:
    """The name under which the Ultralytics package finds the model's YAML. Raises ValueError for one that is not in the
    list."""
    if model not in DETECT_MODELS:
        raise ValueError(f"unknown model {model!r}; one of {', '.join(DETECT_MODELS)}")
    return f"{model}.yaml"
