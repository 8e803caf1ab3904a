"""Columns over all ordinals of a version as packed little-endian arrays, and a cache of them: they never change once
written.
"""

import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CONTENT = "content"
"""(N, 32) uint8: SHA-256 of each image."""
ANNOTATION = "annotation"
"""(N, 32) uint8: SHA-256 of each image's packed annotations."""
LABEL_STATE = "label_state"
"""(N,) uint8: LabelState."""
OBJECTS = "objects"
"""(N,) uint32: objects of each image."""
CLASS_IDS = "class_ids"
"""(sum of objects,) uint16: class of each object, image after image, ascending within an image."""
PERCEPTUAL_HASH = "perceptual_hash"
"""(N,) uint64: what each image shows, in 64 bits (see formats/images.py)."""
LINK_FIRST, LINK_SECOND, LINK_DISTANCE = "link_first", "link_second", "link_distance"
"""(L,) uint32, uint32, uint8: near-duplicates (see near.py), closest first."""
NEXT_FRAME = "next_frame"
"""(N,) int32: the ordinal of the video frame after each image, -1 for none."""

_DTYPES = {
    CONTENT: "u1", ANNOTATION: "u1", LABEL_STATE: "u1", OBJECTS: "<u4", CLASS_IDS: "<u2", PERCEPTUAL_HASH: "<u8",
    LINK_FIRST: "<u4", LINK_SECOND: "<u4", LINK_DISTANCE: "u1", NEXT_FRAME: "<i4",
}  # fmt: skip
_HASHES = (CONTENT, ANNOTATION)

Array = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Labels:
    """Objects of a version's images in the form that `stratify.assign` takes: indptr (N + 1,), class_ids (nnz,)."""

    indptr: npt.NDArray[np.int64]
    class_ids: npt.NDArray[np.uint16]


def encode(name: str, values: npt.NDArray[np.generic]) -> bytes:
    """The stored form of a column."""
    return np.ascontiguousarray(values, dtype=_DTYPES[name]).tobytes()


def decode(name: str, data: bytes) -> Array:
    """The column; read-only."""
    flat = np.frombuffer(data, dtype=_DTYPES[name])
    return flat.reshape(-1, 32) if name in _HASHES else flat


def encode_vector(vector: npt.NDArray[np.uint8]) -> bytes:
    """The stored form of a split vector: a byte an ordinal holds two bits, which zlib notices even at its fastest."""
    return zlib.compress(vector.tobytes(), level=1)


def decode_vector(data: bytes) -> npt.NDArray[np.uint8]:
    """The split vector; read-only."""
    return np.frombuffer(zlib.decompress(data), dtype=np.uint8)


def labels(objects: Array, class_ids: Array) -> Labels:
    """The columns `objects` and `class_ids` as one sparse matrix."""
    indptr = np.zeros(len(objects) + 1, dtype=np.int64)
    np.cumsum(objects, out=indptr[1:])
    return Labels(indptr, class_ids.astype(np.uint16, copy=False))


def images_with_class(matrix: Labels, class_id: int) -> npt.NDArray[np.bool_]:
    """(N,) which images hold an object of the class."""
    where = np.flatnonzero(matrix.class_ids == class_id)
    found = np.zeros(len(matrix.indptr) - 1, dtype=np.bool_)
    found[np.searchsorted(matrix.indptr, where, side="right") - 1] = True
    return found


def class_counts(matrix: Labels, n_classes: int) -> tuple[list[int], list[int]]:
    """Images and objects of each class."""
    objects = np.bincount(matrix.class_ids, minlength=n_classes)
    image = np.repeat(np.arange(len(matrix.indptr) - 1, dtype=np.int64), np.diff(matrix.indptr))
    pairs = np.unique(image * max(1, n_classes) + matrix.class_ids)
    images = np.bincount(pairs % max(1, n_classes), minlength=n_classes)
    return images.tolist(), objects.tolist()


def find(contents: Array, others: Array) -> npt.NDArray[np.int64]:
    """(N,) the row of `others` (M, 32) that equals each row of `contents` (N, 32), -1 where none does. Rows of `others`
    are distinct.
    """
    found = np.full(len(contents), -1, dtype=np.int64)
    if not len(others):
        return found
    theirs = _first_words(others)
    order = np.argsort(theirs, kind="stable")
    at = np.minimum(np.searchsorted(theirs[order], _first_words(contents)), len(order) - 1)
    # Eight equal bytes are a suspicion; the whole hash decides. Different contents that begin alike lie side by side.
    open_ = np.arange(len(contents))
    while open_.size:
        candidates = order[at[open_]]
        equal = (contents[open_] == others[candidates]).all(axis=1)
        found[open_[equal]] = candidates[equal]
        alike = (contents[open_, :8] == others[candidates, :8]).all(axis=1) & ~equal & (at[open_] + 1 < len(order))
        open_ = open_[alike]
        at[open_] += 1
    return found


def count_common(contents: Array, others: Sequence[Array]) -> int:
    """How many rows of `contents` (N, 32) occur among the rows of `others`."""
    first = _first_words(contents)
    candidates = np.zeros(len(contents), dtype=np.bool_)
    for other in others:
        candidates |= np.isin(first, _first_words(other))
    if not candidates.any():
        return 0
    # Eight equal bytes are a suspicion; the whole hash decides.
    wanted = {row.tobytes() for row in contents[candidates]}
    found: set[bytes] = set()
    for other in others:
        suspects = other[np.isin(_first_words(other), first[candidates])]
        found |= wanted & {row.tobytes() for row in suspects}
    return sum(row.tobytes() in found for row in contents[candidates])


def _first_words(contents: Array) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(contents[:, :8]).view("<u8").ravel().astype(np.uint64, copy=False)


class ArrayCache:
    """The most recently used arrays, up to a number of bytes. Keys name immutable things, so nothing is ever
    invalidated.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._held = 0
        self._arrays: OrderedDict[tuple[str, str], Array] = OrderedDict()

    async def get(self, identifier: str, name: str, load: Callable[[], Awaitable[Array]]) -> Array:
        """The array `name` of `identifier`, loaded when it is not here."""
        key = (identifier, name)
        array = self._arrays.get(key)
        if array is not None:
            self._arrays.move_to_end(key)
            return array
        array = await load()
        if array.nbytes <= self._capacity and key not in self._arrays:
            self._arrays[key] = array
            self._held += array.nbytes
            while self._held > self._capacity:
                _, dropped = self._arrays.popitem(last=False)
                self._held -= dropped.nbytes
        return array
