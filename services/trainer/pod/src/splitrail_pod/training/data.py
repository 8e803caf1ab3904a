"""The data of a job as Ultralytics gets it: a data.yaml of our own, and a check that Ultralytics silently dropped none
of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from splitrail_pod.exchange.messages import JobFailureCause, JobSpec, Part
from splitrail_pod.training.failures import JobFailedError

_NAMED = 10  # how many dropped images a message names


def write_data_yaml(spec: JobSpec, parts: dict[str, Part]) -> Path:
    """Write `directory`/data.yaml with absolute paths and return it. `parts` maps Ultralytics' keys to parts.

    Never holds `download:`, and no part beyond those given: Ultralytics would execute the one and might fall back to
    the other. Raises JobFailedError when a part has no images.
    """
    root = spec.directory / "data"
    for part in set(parts.values()):
        images = root / "images" / part
        if not images.is_dir() or not any(images.iterdir()):
            raise JobFailedError(JobFailureCause.DATA, f"the part {part} has no images")
    for cache in root.rglob("*.cache"):
        cache.unlink()  # Ultralytics unpickles it
    path = spec.directory / "data.yaml"
    content: dict[str, Any] = {"path": str(root), "names": dict(enumerate(spec.class_names))}
    content |= {key: str(root / "images" / part) for key, part in parts.items()}
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def check_loaded(
    part: Part, *, expected: int, files: Iterable[str], labels: list[dict[str, Any]], fraction: float = 1.0
) -> None:
    """Compare what Ultralytics found (`files`) and kept (`labels`) of a part with what the manifest promised.

    It drops an image that does not decode or whose labels it refuses with nothing but a log line. Raises JobFailedError
    naming the first of them.
    """
    wanted = max(1, round(expected * fraction)) if fraction < 1.0 else expected
    if len(labels) == wanted:
        return
    kept = {Path(label["im_file"]).name for label in labels}
    dropped = sorted(name for file in files if (name := Path(file).name) not in kept)
    listed = f": {', '.join(dropped[:_NAMED])}{' and others' if len(dropped) > _NAMED else ''}" if dropped else ""
    reason = (
        f"Ultralytics refused {len(dropped)} (see the log){listed}"
        if dropped
        else "the staged files are not those of the manifest"
    )
    raise JobFailedError(
        JobFailureCause.DATA, f"the part {part} should have {wanted} images, but {len(labels)} were loaded; {reason}"
    )
