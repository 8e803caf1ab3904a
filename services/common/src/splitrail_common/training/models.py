"""The architectures that can be named. Names, not files: a path, a URL or a user's YAML could run code or reach out."""

_FAMILIES = ("yolov8", "yolo11", "yolo12", "yolo26")
_SCALES = ("n", "s", "m", "l", "x")

DETECT_MODELS: tuple[str, ...] = tuple(f"{family}{scale}" for family in _FAMILIES for scale in _SCALES)
"""yolov8n ... yolo26x, each family from nano to extra large."""
