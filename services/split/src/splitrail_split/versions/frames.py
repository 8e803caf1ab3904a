"""Frames of one video, told by how images are called: file names that number on, and the `sequence` that a source
names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from splitrail_split.formats.model import SEQUENCE

_NUMBERED = re.compile(r"(.*?)(\d{1,18})")


def next_frames(paths: Sequence[str], metadata: Sequence[Mapping[str, str]]) -> npt.NDArray[np.int32]:
    """(N,) the ordinal of the frame after each image, -1 for none.

    Images of a sequence follow each other by the number at the end of their names, folder by folder where numbers come
    again. Others do when they lie in one folder and their names differ in that number alone, by one.
    """
    following = np.full(len(paths), -1, dtype=np.int32)
    runs: dict[tuple[str, str, str], list[tuple[str, int, str, int]]] = {}
    for ordinal, (path, said) in enumerate(zip(paths, metadata, strict=True)):
        pure = PurePosixPath(path)
        match = _NUMBERED.fullmatch(pure.stem)
        number = int(match[2]) if match else -1
        if sequence := said.get(SEQUENCE):
            runs.setdefault(("", sequence, ""), []).append((str(pure.parent), number, path, ordinal))
        elif match:
            runs.setdefault((str(pure.parent), match[1], pure.suffix), []).append(("", number, path, ordinal))
    for (folder, _, _), images in runs.items():
        again = len({number for _, number, _, _ in images}) < len(images)
        images.sort(key=lambda image: image if again else image[1:])
        for (_, number, _, ordinal), (_, following_number, _, other) in pairwise(images):
            if not folder or following_number == number + 1:
                following[ordinal] = other
    return following
