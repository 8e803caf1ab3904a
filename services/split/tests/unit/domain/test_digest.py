"""Digests of versions and of the parts of a split."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_split.domain.digest import (
    annotation_sha256,
    hashes_from_bytes,
    part_digest,
    revision_digest,
    version_digest,
)

rows = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(1, 3)), max_size=12
)


def arrays(found):
    return (
        hashes_from_bytes([row[0] for row in found]),
        hashes_from_bytes([row[1] for row in found]),
        np.array([row[2] for row in found], dtype=np.uint8),
    )


@given(rows, st.randoms())
def test_digests_do_not_depend_on_order(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    (a, b, c), (d, e, f) = arrays(found), arrays(shuffled)
    assert part_digest(a, b) == part_digest(d, e)
    assert version_digest(a, b, c, ["x"]) == version_digest(d, e, f, ["x"])


@given(rows)
def test_part_digest_is_the_documented_hash(found):
    a, b, _ = arrays(found)
    expected = hashlib.sha256(b"splitrail/split-part/v1\0" + len(found).to_bytes(8, "little"))
    expected.update(b"".join(sorted(row[0] + row[1] for row in found)))
    assert part_digest(a, b) == expected.hexdigest()


def test_rows_that_agree_in_their_first_bytes_are_still_ordered():
    same = b"\0" * 31
    a = hashes_from_bytes([same + bytes([i]) for i in (3, 1, 2)])
    b = hashes_from_bytes([b"\1" * 32] * 3)
    assert part_digest(a, b) == part_digest(a[::-1], b[::-1])


def test_every_ingredient_counts():
    a = hashes_from_bytes([hashlib.sha256(b"image").digest()])
    b = hashes_from_bytes([annotation_sha256(b"\1")])
    empty = np.empty((0, 32), np.uint8)
    labelled = np.array([3], np.uint8)
    digests = {
        part_digest(a, b),
        part_digest(b, a),
        part_digest(empty, empty),
        version_digest(a, b, labelled, ["ab", "c"]),
        version_digest(a, b, labelled, ["a", "bc"]),
        version_digest(a, b, np.array([1], np.uint8), ["ab", "c"]),
    }
    one, two = part_digest(a, b), part_digest(empty, empty)
    digests |= {
        revision_digest(one, two, two, ["x"]),
        revision_digest(two, one, two, ["x"]),
        revision_digest(one, two, two, ["y"]),
    }
    assert len(digests) == 9


def test_arrays_that_do_not_fit_are_refused():
    a = np.zeros((2, 32), np.uint8)
    with pytest.raises(ValueError):
        part_digest(a, a[:1])
    with pytest.raises(ValueError):
        part_digest(a[:, :16], a[:, :16])
    with pytest.raises(ValueError):
        version_digest(a, a, np.zeros(3, np.uint8), [])
    with pytest.raises(ValueError):
        revision_digest("ab", "c" * 64, "d" * 64, [])
    with pytest.raises(ValueError):
        hashes_from_bytes([b"short"])
