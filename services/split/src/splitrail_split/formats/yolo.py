"""Ultralytics YOLO text labels: one .txt beside or parallel to each image, names in data.yaml or classes.txt.

An image's label file is found as Ultralytics does: the last folder `images` of its path becomes `labels`, without one
it lies beside the image. No label file means unlabelled, an empty one means reviewed and empty. Rows: `class cx cy w
h`, or `class x1 y1 x2 y2 ...` (polygon and oriented box), or with `kpt_shape` a box and keypoints. Classes of whole
images have no label files: there each folder is a class (see `tree`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from splitrail_common.annotations import Kind

from splitrail_split.formats import tree
from splitrail_split.formats.boxes import (
    MAX_CLASSES,
    ClassNames,
    ConvertedShapes,
    Four,
    ImageLabels,
    SourceSplits,
    label_path,
    unlabelled,
)
from splitrail_split.formats.image_names import ImagesByName, split_of_word
from splitrail_split.formats.images import EXTENSIONS
from splitrail_split.formats.model import Code, ParsedDataset, Place, Problems, Source, SourceSplit
from splitrail_split.formats.reading import number, read_text, read_yaml, shown, yaml_line
from splitrail_split.formats.shapes import MAX_KEYPOINTS, Keypoint

_BOX_COLUMNS = 5
_NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")


def claims(paths: Sequence[str]) -> int:
    """3: data.yaml or classes.txt with label files; 2: label files, or data.yaml with images; 1: a data.yaml or
    classes.txt alone.
    """
    names = {PurePosixPath(path).name.lower() for path in paths}
    declared = any(name in names for name in (*_DATA_FILES, *_NAME_FILES))
    images = [path for path in paths if PurePosixPath(path).suffix.lower() in EXTENSIONS]
    known = set(paths)
    folders = (PurePosixPath(path).parts[:-1] for path in paths if path.endswith(".txt"))
    labels = any(label_path(path) in known for path in images) or any("labels" in folder for folder in folders)
    if labels:
        return 3 if declared else 2
    return (2 if images else 1) if declared else 0


def parse(source: Source) -> ParsedDataset:
    """See `formats.parse`."""
    if source.kind is Kind.CLASS:
        return tree.parse(source)
    problems = Problems()
    declared = _declarations(source, problems)
    items = []
    seen: set[str] = set()
    for image in sorted(source.image_sizes):
        path = label_path(image)
        seen.add(path)
        if path not in source.files:
            items.append(unlabelled(image))
            continue
        labels = _label_file(source, path, image, declared, problems)
        item = labels.image(image, declared.class_of) if labels is not None else None
        if item is not None:
            items.append(item)
        elif labels is not None:
            problems.add(
                image, None, Code.BAD_IMAGE, f"left out: none of the {labels.dropped} objects in {path} can be used"
            )
    bad = {label_path(image) for image in source.bad_images}
    for path in sorted(source.files):
        if (
            path.endswith(".txt")
            and "labels" in PurePosixPath(path).parts[:-1]
            and path not in seen
            and path not in bad
        ):
            problems.add(path, None, Code.IMAGE_ABSENT, "there is no image for this label file")
    return ParsedDataset(
        declared.classes.names, items, problems.kept, dict(problems.counts), declared.splits, declared.flip_idx
    )


@dataclass(slots=True)
class _Declared:
    """What data.yaml or classes.txt says. class_of maps the ids in label files to ours."""

    classes: ClassNames = field(default_factory=ClassNames)
    class_of: list[int] = field(default_factory=list)
    open_ended: bool = False
    """No names are declared: ids found in the labels make them."""
    keypoints: tuple[int, int] | None = None
    """How many an object has, and the columns of each: 2 (x, y) or 3 (with visibility)."""
    flip_idx: list[int] = field(default_factory=list)
    splits: dict[str, SourceSplit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Data:
    """Where data.yaml lies, and the `path` it gives."""

    file: str
    root: object


def _declarations(source: Source, problems: Problems) -> _Declared:
    declared = _Declared()
    path, data = _data_file(source, problems)
    if data is not None and "names" in data:
        _name_ids(declared, path, _yaml_names(path, data, problems), problems)
        shape = data.get("kpt_shape")
        sizes = [number(size) for size in shape] if isinstance(shape, list) else []
        if (
            len(sizes) == 2
            and all(size is not None and 0 < size <= MAX_KEYPOINTS for size in sizes)
            and sizes[1] in (2, 3)
        ):
            declared.keypoints = (int(sizes[0] or 0), int(sizes[1] or 0))
        if data.get("flip_idx") and source.kind is Kind.KEYPOINTS:
            _flip_idx(source, path, data["flip_idx"], declared, problems)
    else:
        _names_from_text(source, declared, problems)
    if data is not None and "download" in data:
        problems.add(
            path, None, Code.DOWNLOAD_IGNORED, "`download` is never run: only the files that are here are imported"
        )
    _source_splits(source, declared, path, data or {}, problems)
    return declared


def _flip_idx(source: Source, path: str, given: object, declared: _Declared, problems: Problems) -> None:
    count = declared.keypoints[0] if declared.keypoints else 0
    free = {str(index): index for index in range(count)}
    found: list[int] = []
    if not count:
        why = "there is no kpt_shape"
    elif not isinstance(given, list):
        why = f"{shown(given)} is not a list"
    elif len(given) != count:
        why = f"it has {len(given)} numbers, and kpt_shape gives {count} keypoints"
    else:
        for one in given:
            if not isinstance(one, str) or one not in free:
                why = f"{shown(one)} occurs before, or is not one of 0 to {count - 1}"
                break
            found.append(free.pop(one))
        else:
            declared.flip_idx = found
            return
    problems.add(path, yaml_line(source, path, "flip_idx"), Code.KEYPOINT_FLIP, f"flip_idx is left out: {why}")


def _data_file(source: Source, problems: Problems) -> tuple[str, dict[str, object] | None]:
    """The YAML file nearest to the root that declares names, data.yaml first."""
    found = [path for path in source.files if path.lower().endswith((".yaml", ".yml"))]
    found.sort(key=lambda path: (PurePosixPath(path).name.lower() not in _DATA_FILES, path.count("/"), path))
    kept: tuple[str, dict[str, object] | None] = ("", None)
    for path in found:
        official = PurePosixPath(path).name.lower() in _DATA_FILES
        data = read_yaml(source, path, problems if official else Problems())
        if data is not None and "names" in data:
            return path, data
        if data is not None and official and kept[1] is None:
            kept = (path, data)
    return kept


def _yaml_names(path: str, data: dict[str, object], problems: Problems) -> list[str]:
    """Names by id from a list or a mapping {id: name}; ids without a usable name get `class<id>`."""
    names = data["names"]
    listed: dict[int, object] = {}
    if isinstance(names, list):
        listed = dict(enumerate(names))
    elif isinstance(names, dict):
        for key, name in names.items():
            if isinstance(key, str) and key.isascii() and key.isdigit() and int(key[:9]) < MAX_CLASSES and len(key) < 9:
                listed[int(key)] = name
            else:
                problems.add(
                    path,
                    None,
                    Code.CLASS_UNKNOWN,
                    f"names has the id {shown(key)}: ids are whole numbers below {MAX_CLASSES}",
                )
    else:
        problems.add(path, None, Code.UNREADABLE, "names is neither a list nor a mapping of ids to names")
    if len(listed) > MAX_CLASSES:
        problems.add(path, None, Code.CLASS_RANGE, f"{len(listed)} classes: the first {MAX_CLASSES} are kept")
    result = []
    for class_id in range(min(max(listed, default=-1) + 1, MAX_CLASSES)):
        name = listed.get(class_id)
        if isinstance(name, str) and name.strip():
            result.append(name.strip())
        else:
            problems.add(path, None, Code.CLASS_UNKNOWN, f"class {class_id} has no name: called class{class_id}")
            result.append(f"class{class_id}")
    count = number(data.get("nc"))
    if count is not None and count != len(result):
        problems.add(
            path,
            None,
            Code.CLASS_RANGE,
            f"nc is {shown(data['nc'])}, but there are {len(result)} names: the names count",
        )
    return result


def _names_from_text(source: Source, declared: _Declared, problems: Problems) -> None:
    files = sorted(
        (path for path in source.files if PurePosixPath(path).name.lower() in _NAME_FILES),
        key=lambda path: (path.count("/"), path),
    )
    for path in files:
        text = read_text(source, path, problems)
        if text is not None:
            names = [line.strip() for line in text.splitlines()]
            while names and not names[-1]:
                names.pop()
            _name_ids(
                declared, path, [name or f"class{index}" for index, name in enumerate(names[:MAX_CLASSES])], problems
            )
            return
    declared.open_ended = True
    problems.add(
        "data.yaml",
        None,
        Code.NO_CLASSES,
        "no data.yaml or classes.txt names the classes: they are called class0, class1, ...",
    )


def _name_ids(declared: _Declared, path: str, names: Sequence[str], problems: Problems) -> None:
    for class_id, name in enumerate(names):
        if name in declared.classes:
            problems.add(
                path,
                None,
                Code.DUPLICATE_CLASS,
                f"class {class_id} has the name {shown(name)} of an earlier class: taken as one class",
            )
        declared.class_of.append(declared.classes.id_of(name))


def _label_file(source: Source, path: str, image: str, declared: _Declared, problems: Problems) -> ImageLabels | None:
    """Objects of one label file; None when it cannot be read at all."""
    text = read_text(source, path, problems)
    if text is None:
        return None
    changes = ConvertedShapes()
    labels = ImageLabels(problems, source.kind, source.image_sizes[image], changes)
    for line, row in enumerate(text.splitlines(), start=1):
        fields = row.split()
        if not fields:
            continue
        at = Place(path, line)
        values = [number(one) for one in fields]
        if None in values:
            wrong = fields[values.index(None)]
            labels.drop(at, Code.NOT_A_NUMBER, f"{shown(wrong)} is not a number")
            continue
        numbers = [value for value in values if value is not None]
        class_id = _class_id(numbers[0], declared)
        if class_id is None:
            known = "0 and above" if declared.open_ended else f"0 to {len(declared.class_of) - 1}"
            labels.drop(at, Code.CLASS_RANGE, f"class {shown(fields[0])} is not one of the classes {known}")
        else:
            _object(labels, at, class_id, numbers, declared, pose=source.kind is Kind.KEYPOINTS)
    changes.report(problems)
    return labels


def _object(
    labels: ImageLabels, at: Place, class_id: int, numbers: Sequence[float], declared: _Declared, *, pose: bool
) -> None:
    """The object of one row. The columns tell its shape; where keypoints are wanted, only `kpt_shape` does."""
    count, columns = declared.keypoints or (0, 0)
    if len(numbers) == _BOX_COLUMNS:
        labels.box(at, class_id, _four(numbers))
    elif declared.keypoints and len(numbers) == _BOX_COLUMNS + count * columns:
        labels.keypoints(at, class_id, _four(numbers), _keypoints(numbers[_BOX_COLUMNS:], columns))
    elif pose and not declared.keypoints:
        labels.drop(
            at, Code.COLUMNS, f"{len(numbers)} columns, and no kpt_shape in data.yaml says what those after the box are"
        )
    elif not pose and len(numbers) >= 7 and len(numbers) % 2 == 1:
        labels.polygon(at, class_id, [list(zip(numbers[1::2], numbers[2::2], strict=True))])
    else:
        wanted = (
            f"a box has 5, with {count} keypoints {_BOX_COLUMNS + count * columns}"
            if pose
            else "a box has 5 (class cx cy w h), a polygon an odd number from 7"
        )
        labels.drop(at, Code.COLUMNS, f"{len(numbers)} columns: {wanted}")


def _keypoints(values: Sequence[float], columns: int) -> list[Keypoint]:
    """Keypoints of a row. Without a column for visibility, a point at 0, 0 is one that is not labelled, as Ultralytics
    takes it.
    """
    points: list[Keypoint] = []
    for start in range(0, len(values), columns):
        x, y = values[start], values[start + 1]
        said = values[start + 2] if columns > 2 else 2.0 if x or y else 0.0
        points.append((x, y, 2 if said >= 2 else 1 if said >= 1 else 0))
    return points


def _four(numbers: Sequence[float]) -> Four:
    return numbers[1], numbers[2], numbers[3], numbers[4]


def _class_id(value: float, declared: _Declared) -> int | None:
    if not (0 <= value < MAX_CLASSES and value == int(value)):
        return None
    class_id = int(value)
    if declared.open_ended:
        for new in range(len(declared.class_of), class_id + 1):
            declared.class_of.append(declared.classes.id_of(f"class{new}"))
    return class_id if class_id < len(declared.class_of) else None


def _source_splits(source: Source, declared: _Declared, path: str, data: dict[str, object], problems: Problems) -> None:
    """Splits from data.yaml's train, val (or valid) and test: folders, .txt lists, or several of them; without any,
    from folder names.
    """
    splits = SourceSplits()
    images = ImagesByName([*source.image_sizes, *source.bad_images])
    for split, targets in _split_targets(data).items():
        for target in targets:
            for image in _images_of(source, target, _Data(path, data.get("path")), images, problems):
                if image in source.image_sizes:
                    splits.put(image, split)
    splits.or_folders(source.image_sizes)
    splits.report(path, problems)
    declared.splits = splits.of


def _split_targets(data: dict[str, object]) -> dict[SourceSplit, list[str]]:
    """What data.yaml gives as train, val and test. Ultralytics demands a val: one that is train itself says that there
    is none, as in coco128.yaml, and without test there is no split then.
    """
    targets: dict[SourceSplit, list[str]] = {}
    for key, entry in data.items():
        split = split_of_word(key) if key in ("train", "val", "valid", "validation", "test") else None
        if split is not None:
            given = entry if isinstance(entry, list) else [entry]
            # One spelling of each: there may be as many as a hostile file holds, and each may mean all images.
            meant = {_inside(one): one.strip() for one in given if isinstance(one, str) and one.strip()}
            targets.setdefault(split, []).extend(meant.values())
    if targets.get("val") and targets["val"] == targets.get("train"):
        del targets["val"]
        return targets if targets.get("test") else {}
    return targets


def _images_of(source: Source, target: str, data: _Data, images: ImagesByName, problems: Problems) -> list[str]:
    """The images that an entry of data.yaml means. Paths there are written for another machine: what remains of them is
    looked up among our files.
    """
    base = PurePosixPath(data.file).parent
    roots = [base / _inside(data.root)] if isinstance(data.root, str) else []
    candidates = [*(str(one / _inside(target)) for one in roots), str(base / _inside(target)), _inside(target)]
    if target.endswith(".txt"):
        listing = next((one for one in candidates if one in source.files), None)
        text = read_text(source, listing, problems) if listing is not None else None
        if listing is None or text is None:
            return []
        found = []
        for line, row in enumerate(text.splitlines(), start=1):
            if not row.strip():
                continue
            image = images.by_file_name(row.strip(), listing)
            if image is None:
                problems.add(
                    listing,
                    line,
                    Code.IMAGE_ABSENT,
                    f"names {shown(row.strip())}, {images.why_none(row.strip(), listing)}",
                )
            else:
                found.append(image)
        return found
    for folder in candidates:
        if inside := images.under(folder):
            return inside
    return []


def _inside(path: str) -> str:
    """A path without its root, drive and dots."""
    return "/".join(
        part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..") and not part.endswith(":")
    )
