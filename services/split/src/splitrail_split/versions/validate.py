"""Rules of requests about drafts that need nothing but the request and the draft's classes: each breach becomes
INVALID_ARGUMENT with its field.
"""

import re
from collections.abc import Sequence

from splitrail.split.v1 import dataset_pb2, version_pb2, version_service_pb2
from splitrail_common.annotations import Annotation, AnnotationError, Kind, LabelState, box_from_yolo, overhang, pack
from splitrail_common.errors import Violation, invalid
from splitrail_common.labels import key_problems

from splitrail_split.contents.verify import MAX_IMAGE_BYTES
from splitrail_split.domain.datasets import KINDS, Task
from splitrail_split.domain.paths import name_problem
from splitrail_split.formats import shapes
from splitrail_split.formats.boxes import CLIP_TOLERANCE, MAX_CLASSES
from splitrail_split.formats.images import is_image
from splitrail_split.versions.classes import Add, Change, Merge, Rename
from splitrail_split.versions.drafts import UNANNOTATED, Draft, Upsert

MAX_ASSETS = 1000

_SHAPES = {
    "box": Kind.BOX,
    "polygon": Kind.POLYGON,
    "keypoints": Kind.KEYPOINTS,
    "oriented_box": Kind.OBB,
    None: Kind.CLASS,
}
_SHAPE_NAMES = {kind: name or "no shape" for name, kind in _SHAPES.items()}
_VISIBILITIES = {
    dataset_pb2.VISIBILITY_NOT_LABELLED: 0,
    dataset_pb2.VISIBILITY_HIDDEN: 1,
    dataset_pb2.VISIBILITY_VISIBLE: 2,
}
FieldProblem = tuple[str, str]
"""(field, what is wrong with it)"""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def contents(given: Sequence[version_pb2.AssetContent]) -> dict[bytes, int]:
    """Sizes by hash."""
    wrong: list[Violation] = []
    sizes: dict[bytes, int] = {}
    for index, one in enumerate(given):
        if sizes.setdefault(bytes.fromhex(one.sha256), one.size_bytes) != one.size_bytes:
            wrong.append(Violation(f"contents[{index}].size_bytes", "differs from an earlier entry of the same hash"))
        if one.size_bytes > MAX_IMAGE_BYTES:
            wrong.append(
                Violation(f"contents[{index}].size_bytes", f"must be at most {MAX_IMAGE_BYTES}, not {one.size_bytes}")
            )
    if wrong:
        raise invalid(*wrong)
    return sizes


def class_names(names: Sequence[str], *, has_base: bool) -> list[str]:
    """Classes of a draft without base."""
    if names and has_base:
        raise invalid(Violation("class_names", "are those of the base: change them with UpdateClasses"))
    if len(names) > MAX_CLASSES:
        raise invalid(Violation("class_names", f"at most {MAX_CLASSES}, not {len(names)}"))
    first: dict[str, int] = {}
    wrong = []
    for index, name in enumerate(names):
        if problem := _class_name_problem(name):
            wrong.append(Violation(f"class_names[{index}]", problem))
        elif first.setdefault(name, index) != index:
            wrong.append(Violation(f"class_names[{index}]", f"{name!r} is the name of class_names[{first[name]}] too"))
    if wrong:
        raise invalid(*wrong)
    return list(names)


def class_changes(given: Sequence[version_pb2.ClassChange]) -> list[Change]:
    """Changes to classes, in order."""
    made: list[Change] = []
    wrong: list[Violation] = []
    for index, one in enumerate(given):
        kind = one.WhichOneof("change")
        name = one.add.name if kind == "add" else one.rename.name
        problem = _class_name_problem(name) if kind in ("add", "rename") else None
        if kind is None:
            wrong.append(Violation(f"changes[{index}]", "is empty: add, rename or merge"))
        elif problem:
            wrong.append(Violation(f"changes[{index}].{kind}.name", problem))
        elif kind == "add":
            made.append(Add(name))
        elif kind == "rename":
            made.append(Rename(one.rename.class_id, name))
        else:
            made.append(Merge(one.merge.class_id, one.merge.into_class_id))
    if wrong:
        raise invalid(*wrong)
    return made


def deletions(request: version_service_pb2.DeleteAssetsRequest) -> tuple[list[str], list[str]]:
    """External_ids and paths."""
    count = len(request.external_ids) + len(request.paths)
    if not 0 < count <= MAX_ASSETS:
        raise invalid(
            Violation(
                "paths",
                f"at most {MAX_ASSETS} together with external_ids, not {count}"
                if count
                else "or external_ids are needed",
            )
        )
    return [one for one in request.external_ids if one], list(request.paths)


def upserts(given: Sequence[version_pb2.AssetUpsert], draft: Draft) -> list[Upsert]:
    """What is said of each image, quantized; raises with every bad entry named. A thousand crowded images take a
    moment: run it on a thread.
    """
    made: list[Upsert] = []
    wrong: list[Violation] = []
    for index, one in enumerate(given):
        annotations, problems = _annotations(one, draft)
        problems = [*_identity_problems(one), *problems]
        of_keys = key_problems(f"assets[{index}].metadata.entries", one.metadata.entries)
        wrong += [*(Violation(f"assets[{index}].{field}", why) for field, why in problems), *of_keys]
        if not problems and not of_keys:
            made.append(
                Upsert(
                    external_id=one.external_id,
                    path=one.path,
                    sha256=bytes.fromhex(one.sha256) or None,
                    annotations=annotations,
                    label_state=_label_state(one),
                    metadata=dict(one.metadata.entries) if one.HasField("metadata") else None,
                )
            )
    if wrong:
        raise invalid(*wrong)
    return made


def _identity_problems(one: version_pb2.AssetUpsert) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    if not one.external_id and not one.path:
        found.append(("external_id", "or path is needed to say which image is meant"))
    if one.path:
        if problem := name_problem(one.path):
            found.append(("path", f"{one.path[:200]!r} {problem}"))
        elif not is_image(one.path):
            found.append(("path", f"{one.path!r} is not called like an image"))
    return found


def _class_name_problem(name: str) -> str | None:
    if not name.strip() or _CONTROL.search(name):
        return "must have characters that can be seen, and no control character"
    if name != name.strip():  # no format of labels keeps them
        return f"{name!r} begins or ends with a blank: leave it out"
    return None


def _label_state(one: version_pb2.AssetUpsert) -> int | None:
    """What the entry says about the label state; annotations decide when it says nothing itself."""
    if one.label_state:
        return one.label_state
    if one.HasField("annotations"):
        return LabelState.LABELLED if one.annotations.items else LabelState.EMPTY
    return None


def _annotations(one: version_pb2.AssetUpsert, draft: Draft) -> tuple[bytes | None, list[FieldProblem]]:
    """The packed objects of an entry (None: they stay), and what is wrong with them."""
    items = one.annotations.items
    if items and one.label_state not in (dataset_pb2.LABEL_STATE_UNSPECIFIED, dataset_pb2.LABEL_STATE_LABELLED):
        return None, [("label_state", "contradicts the annotations: an image with objects is LABELLED")]
    if one.HasField("annotations") and not items and one.label_state == dataset_pb2.LABEL_STATE_LABELLED:
        return None, [("label_state", "contradicts the annotations: an image without objects is EMPTY or UNLABELLED")]
    if draft.task == Task.CLASSIFY and len(items) > 1:
        return None, [("annotations.items", f"an image of this dataset has one class, not {len(items)}")]
    found: dict[Annotation, int] = {}
    problems: list[FieldProblem] = []
    for index, item in enumerate(items):
        annotation, problem = _annotation(item, draft)
        if annotation is not None and (first := found.setdefault(annotation, index)) != index:
            problem = ("", f"is the same object as items[{first}]")
        if problem is not None:
            field, why = problem
            problems.append((f"annotations.items[{index}]{field and '.'}{field}", why))
    if items:
        return pack(found), problems
    given = one.HasField("annotations") or one.label_state in (
        dataset_pb2.LABEL_STATE_EMPTY,
        dataset_pb2.LABEL_STATE_UNLABELLED,
    )
    return (UNANNOTATED if given else None), problems


def _annotation(item: dataset_pb2.Annotation, draft: Draft) -> tuple[Annotation | None, FieldProblem | None]:
    if not 0 <= item.class_id < len(draft.class_names):
        return None, (
            "class_id",
            f"{item.class_id} is not a position in the draft's {len(draft.class_names)} class_names",
        )
    shape = item.WhichOneof("shape")
    wanted = KINDS[Task(draft.task)]
    if _SHAPES[shape] is not wanted:
        return None, (shape or "shape", f"objects of this dataset have: {_SHAPE_NAMES[wanted]}")
    try:
        annotation, beyond = _quantized(item, wanted)
    except AnnotationError as error:
        return None, (shape or "", str(error))
    if beyond > CLIP_TOLERANCE:
        return None, (shape or "", f"reaches {beyond:.2%} beyond the image")
    return annotation, None


def _quantized(item: dataset_pb2.Annotation, kind: Kind) -> tuple[Annotation, float]:
    """The object, and how far it reaches beyond the image. Raises AnnotationError."""
    match kind:
        case Kind.BOX:
            box = _box(item.box)
            return box_from_yolo(item.class_id, *box), overhang(*box)
        case Kind.POLYGON:
            points = [(point.x, point.y) for point in item.polygon.points]
            return shapes.polygon(item.class_id, points), shapes.beyond(points)
        case Kind.KEYPOINTS:
            keypoints = [(one.point.x, one.point.y, _visibility(one.visibility)) for one in item.keypoints.points]
            beyond = shapes.beyond([(x, y) for x, y, visibility in keypoints if visibility])
            box = _box(item.keypoints.box)
            return shapes.keypoints(item.class_id, box, keypoints), max(overhang(*box), beyond)
        case Kind.OBB:
            corners = [(point.x, point.y) for point in item.oriented_box.corners]
            if len(corners) != shapes.CORNERS:
                raise AnnotationError("columns", f"an oriented box has {shapes.CORNERS} corners, not {len(corners)}")
            return shapes.oriented(item.class_id, corners), shapes.beyond(corners)
        case Kind.CLASS:
            return Annotation(item.class_id, Kind.CLASS, ()), 0.0


def _box(box: dataset_pb2.Box) -> tuple[float, float, float, float]:
    return box.center_x, box.center_y, box.width, box.height


def _visibility(value: int) -> int:
    found = _VISIBILITIES.get(dataset_pb2.Visibility.ValueType(value))
    if found is None:
        raise AnnotationError("columns", f"{value} is not a visibility: use NOT_LABELLED, HIDDEN or VISIBLE")
    return found
