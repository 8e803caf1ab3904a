"""As many keypoints for every object: training needs rows of one length."""

from __future__ import annotations

from dataclasses import replace

from splitrail_common.annotations import Annotation, pack, unpack

from splitrail_split.formats.model import MAX_KEPT_PROBLEMS, Code, ParsedDataset, ParsedImage, Problem

_BOX_VALUES = 4
_POINT_VALUES = 3


def completed(parsed: ParsedDataset) -> ParsedDataset:
    """Objects with fewer keypoints than the others get those that they lack as not labelled; one problem names how many
    of an image.
    """
    wanted = max((len(one.values) for item in parsed.items for one in unpack(item.annotations)), default=_BOX_VALUES)
    items: list[ParsedImage] = []
    problems = list(parsed.problems)
    lacking = 0
    if wanted == _BOX_VALUES and any(unpack(item.annotations) for item in parsed.items):
        problems.append(
            Problem("", None, Code.KEYPOINTS_ABSENT, "no object has keypoints, which a dataset of poses is made of")
        )
        lacking = 1
    for item in parsed.items:
        objects = unpack(item.annotations)
        short = [one for one in objects if len(one.values) < wanted]
        if not short:
            items.append(item)
            continue
        lacking += 1
        items.append(replace(item, annotations=pack(_filled(one, wanted) for one in objects)))
        if len(problems) < MAX_KEPT_PROBLEMS:
            count = (wanted - _BOX_VALUES) // _POINT_VALUES
            message = f"{len(short)} of its {len(objects)} objects have fewer than {count} keypoints: those that they lack count as not labelled"
            problems.append(Problem(item.path, None, Code.KEYPOINTS_ABSENT, message))
    counts = {**parsed.problem_counts, Code.KEYPOINTS_ABSENT: lacking} if lacking else parsed.problem_counts
    return replace(parsed, items=items, problems=problems, problem_counts=counts)


def _filled(one: Annotation, wanted: int) -> Annotation:
    return one._replace(values=one.values + (0,) * (wanted - len(one.values)))
