"""Packed columns: what is stored comes back, counts equal a naive recount, overlap is by whole hashes."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_split.domain import arrays

images = st.lists(st.lists(st.integers(0, 6), max_size=5).map(sorted), max_size=30)


def matrix(rows: list[list[int]]) -> arrays.Labels:
    counts = np.array([len(row) for row in rows], dtype=np.uint32)
    return arrays.labels(counts, np.array([one for row in rows for one in row], dtype=np.uint16))


@given(images)
def test_class_counts_equal_a_recount(rows):
    in_images, objects = arrays.class_counts(matrix(rows), 7)
    assert in_images == [sum(one in row for row in rows) for one in range(7)]
    assert objects == [sum(row.count(one) for row in rows) for one in range(7)]


@given(images, st.integers(0, 6))
def test_images_with_a_class(rows, class_id):
    assert arrays.images_with_class(matrix(rows), class_id).tolist() == [class_id in row for row in rows]


@given(st.lists(st.integers(0, 3), max_size=200))
def test_a_vector_comes_back(values):
    vector = np.array(values, dtype=np.uint8)
    assert arrays.decode_vector(arrays.encode_vector(vector)).tolist() == values


def test_columns_come_back():
    generator = np.random.default_rng(1)
    for name, shape in [
        (arrays.CONTENT, (5, 32)),
        (arrays.LABEL_STATE, (5,)),
        (arrays.OBJECTS, (5,)),
        (arrays.CLASS_IDS, (9,)),
    ]:
        values = generator.integers(0, 200, shape)
        assert arrays.decode(name, arrays.encode(name, values)).tolist() == values.tolist()


def test_overlap_compares_whole_hashes():
    generator = np.random.default_rng(1)
    contents = generator.integers(0, 256, (50, 32), dtype=np.uint8)
    near = contents[:10].copy()
    near[:, 31] ^= 1  # the same first words, another hash
    assert arrays.count_common(contents, [near]) == 0
    assert arrays.count_common(contents, [near, contents[20:25], contents[23:30]]) == 10
    assert arrays.count_common(contents[:0], [contents]) == 0


def test_the_cache_keeps_what_was_used_last_within_its_capacity():
    cache, loads = arrays.ArrayCache(100), []

    async def get(key: str, size: int = 40) -> None:
        async def load() -> arrays.Array:
            loads.append(key)
            return np.zeros(size, dtype=np.uint8)

        await cache.get(key, "x", load)

    async def use() -> None:
        for key in ("a", "b", "a", "c", "a", "b"):
            await get(key)
        await get("large", 101)
        await get("large", 101)
        await get("a")

    asyncio.run(use())
    assert loads == ["a", "b", "c", "b", "large", "large"]


def test_an_unknown_column_has_no_form():
    with pytest.raises(KeyError):
        arrays.encode("nonsense", np.zeros(1))
