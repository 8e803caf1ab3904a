"""The texts of a YOLO folder: label files and data.yaml. What is written reads back as the same fixed-point values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import yaml
from splitrail_common.annotations import SCALE, Annotation, Kind, unpack

_BOX_VALUES = 4


class UnwritableError(ValueError):
    """Annotations that the format has no place for; the message is for people."""


def rows(packed: bytes) -> str:
    """Ultralytics label text, one line an object: `class cx cy w h`, with `x y v` of each keypoint after it, or `class
    x1 y1 x2 y2 ...` (polygon, oriented box). Six decimals, which is what is stored. Raises UnwritableError for a class
    of the whole image, which is a folder, not a row.
    """
    return "".join(f"{one.class_id} {' '.join(_VALUES[one.kind](one))}\n" for one in unpack(packed))


def keypoint_shape(packed: bytes) -> tuple[int, int] | None:
    """`kpt_shape` of data.yaml, (keypoints, values of each), as the first object with keypoints has it; None without
    such an object.
    """
    counts = [len(one.values) - _BOX_VALUES for one in unpack(packed) if one.kind is Kind.KEYPOINTS]
    return (counts[0] // 3, 3) if counts else None


def data_yaml(
    reference: str,
    folders: Mapping[str, str],
    class_names: Sequence[str],
    keypoints: tuple[int, int] | None = None,
    flip_idx: Sequence[int] = (),
) -> str:
    """data.yaml without `path`, so that its own folder counts wherever that lies. folders: train, val, test -> relative
    folder, as far as there are. flip_idx: for each keypoint, which one it becomes in a mirrored image; not written when
    the keypoints have become others.

    Training needs `val`: without one it is train, as in Ultralytics' own coco128.yaml. Without train images `train`
    stays empty, so that nothing trains on what is held out; `yolo val split=test` works all the same.
    """
    lines = [f"# {reference}, exported by Splitrail; split.lock.json says how it was split, and holds the digests."]
    train = folders.get("train", "")
    keys = {"train": train, "val": folders.get("val", train), **folders}
    if "train" in folders and "val" not in folders:
        lines.append(
            "# There are no val images: val is train, and what is measured on it says nothing about unseen images."
        )
    lines += [f"{key}: {folder}".rstrip() for key, folder in keys.items()]
    if keypoints:
        lines.append(f"kpt_shape: [{keypoints[0]}, {keypoints[1]}]")
        if len(flip_idx) == keypoints[0]:
            lines.append(f"flip_idx: {list(flip_idx)}")
    lines.append("names:" if class_names else "names: {}")
    lines += [f"  {index}: {_quoted(name)}" for index, name in enumerate(class_names)]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A double-quoted scalar on one line: names such as `no`, `1.0` or one with a line break stay what they are, for
    every reader of YAML.
    """
    written: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return written.rstrip("\n")


def fixed(value: int) -> str:
    """A fixed-point value with all of its decimals."""
    return f"{value // SCALE}.{value % SCALE:06d}"


def _all_fixed(one: Annotation) -> list[str]:
    return [fixed(value) for value in one.values]


def _box_and_keypoints(one: Annotation) -> list[str]:
    points = one.values[_BOX_VALUES:]
    return [fixed(value) for value in one.values[:_BOX_VALUES]] + [
        str(value) if index % 3 == 2 else fixed(value) for index, value in enumerate(points)
    ]


def _no_row(one: Annotation) -> list[str]:
    raise UnwritableError(f"a YOLO label file has no row for an object of kind {one.kind.name}")


_VALUES: Mapping[Kind, Callable[[Annotation], list[str]]] = {
    Kind.BOX: _all_fixed,
    Kind.POLYGON: _all_fixed,
    Kind.OBB: _all_fixed,
    Kind.KEYPOINTS: _box_and_keypoints,
    Kind.CLASS: _no_row,
}
