"""Near-duplicates against comparing all with all, and frames."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from splitrail_split.formats.images import inspect
from splitrail_split.splits.algorithm.groups import join
from splitrail_split.versions.frames import next_frames
from splitrail_split.versions.near import MAX_DISTANCE, links


@st.composite
def hashes(draw):
    """Some hashes, and some that differ from one of them in a few bits."""
    base = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6))
    made = list(base)
    for _ in range(draw(st.integers(0, 25))):
        value = draw(st.sampled_from(base))
        for bit in draw(st.lists(st.integers(0, 63), max_size=9)):
            value ^= 1 << bit
        made.append(value)
    return np.array(draw(st.permutations(made)), dtype=np.uint64)


def cluster(n, found):
    return join(n, [np.where(np.arange(n) == a, 0, np.where(np.arange(n) == b, 0, -1)) for a, b in found])


def same_clusters(n, found, pairs):
    made, wanted = (
        cluster(n, zip(found.first.tolist(), found.second.tolist(), strict=True)).tolist(),
        cluster(n, pairs).tolist(),
    )
    return len(set(zip(made, wanted, strict=True))) == len(set(made)) == len(set(wanted))


@pytest.mark.parametrize("unrelated", [0, 20])
def test_crowded_clips_have_true_clusters_at_every_distance(unrelated):
    """Far more pairs than are kept: what is left out must not be what joins close images."""
    rng = np.random.default_rng(unrelated)
    values = rng.integers(0, 2**63, 3 + unrelated, dtype=np.uint64)
    flips = [
        np.bitwise_or.reduce(
            np.uint64(1) << rng.choice(8, rng.integers(0, 4), replace=False).astype(np.uint64), initial=np.uint64(0)
        )
        for _ in range(60)
    ]
    values = np.unique(np.concatenate([values, values[np.arange(60) % 3] ^ np.array(flips, dtype=np.uint64)]))
    rng.shuffle(values)
    n = len(values)
    found = links(values)
    distance = {(a, b): (int(values[a]) ^ int(values[b])).bit_count() for a in range(n) for b in range(a + 1, n)}
    assert len(found.first) < sum(apart <= MAX_DISTANCE for apart in distance.values())
    for bits in range(MAX_DISTANCE + 1):
        assert same_clusters(n, found.within(bits), [pair for pair, apart in distance.items() if apart <= bits])


@given(hashes(), st.data())
def test_images_in_no_part_hide_no_pair_of_others(values, data):
    n = len(values)
    placed = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    found = links(values, placed)
    assert np.all(np.diff(found.distance.astype(int)) >= 0)
    among = placed[found.first] & placed[found.second]
    where = np.cumsum(placed) - 1
    for bits in range(MAX_DISTANCE + 1):
        wanted = links(values[placed]).within(bits)
        close = among & (found.distance <= bits)
        pairs = list(zip(where[found.first[close]].tolist(), where[found.second[close]].tolist(), strict=True))
        assert same_clusters(int(placed.sum()), wanted, pairs)
        assert same_clusters(
            n,
            links(values).within(bits),
            zip(*(column[found.distance <= bits].tolist() for column in (found.first, found.second)), strict=True),
        )


@given(hashes())
def test_pairs_are_those_of_comparing_all_with_all(values):
    found = links(values)
    rows = list(zip(found.first.tolist(), found.second.tolist(), found.distance.tolist(), strict=True))
    assert len(set(rows)) == len(rows)
    distance = {
        (a, b): (int(values[a]) ^ int(values[b])).bit_count()
        for a in range(len(values))
        for b in range(a + 1, len(values))
    }
    assert all(distance[a, b] == bits for a, b, bits in rows)
    assert rows == sorted(rows, key=lambda row: (row[2], row[0], row[1]))
    close = [pair for pair, bits in distance.items() if bits <= MAX_DISTANCE]
    same = cluster(len(values), close).tolist()
    assert len(set(zip(cluster(len(values), [row[:2] for row in rows]).tolist(), same, strict=True))) == len(set(same))
    for bits in range(MAX_DISTANCE + 1):
        within = [pair for pair, apart in distance.items() if apart <= bits]
        assert same_clusters(len(values), found.within(bits), within)
    if len({*values.tolist()}) == len(values) and len(close) <= 4 * len(values):
        assert {row[:2] for row in rows} == set(close)


def test_many_equal_hashes_are_chained_not_squared():
    values = np.zeros(50_000, dtype=np.uint64)
    found = links(values)
    assert len(found.first) == 49_999
    assert not found.distance.any()


def test_nothing_and_one():
    assert len(links(np.zeros(0, np.uint64)).first) == len(links(np.zeros(1, np.uint64)).first) == 0


def test_within():
    found = links(np.array([0, 1, 7], dtype=np.uint64))
    assert [len(found.within(distance).first) for distance in (0, 1, 2, 3)] == [0, 1, 2, 3]


def picture(seed):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return small.resize((400, 300), Image.Resampling.BICUBIC)


def hash_of(image, quality=95, format_="JPEG"):
    buffer = io.BytesIO()
    image.save(buffer, format_, quality=quality)
    return inspect(buffer.getvalue()).perceptual_hash


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((200, 150)),
        lambda image: image.point(lambda value: min(255, int(value * 1.1))),
        lambda image: image.crop((2, 2, 398, 298)),
        lambda image: image.convert("L"),
    ],
    ids=["resized", "brighter", "cropped", "grey"],
)
def test_what_looks_alike_is_near_and_other_things_are_far(change):
    near, far = [], []
    for seed in range(10):
        image = picture(seed)
        one, other = hash_of(image), hash_of(change(image), quality=60)
        near.append(((one ^ other) & (2**64 - 1)).bit_count())
        far.append(((one ^ hash_of(picture(seed + 100))) & (2**64 - 1)).bit_count())
    assert sorted(near)[8] <= MAX_DISTANCE
    assert min(far) > 2 * MAX_DISTANCE


def test_frames_number_on():
    paths = ["a/x_1.jpg", "a/x_2.jpg", "a/x_4.jpg", "b/x_3.jpg", "a/y_2.jpg", "a/plain.jpg", "a/x_3.png"]
    assert next_frames(paths, [{}] * 7).tolist() == [1, -1, -1, -1, -1, -1, -1]


def test_frames_of_a_sequence_follow_whatever_their_numbers():
    paths = ["d1/1.jpg", "d1/2.jpg", "d2/1.jpg", "d2/2.jpg"]
    assert next_frames(paths, [{"sequence": "v"}] * 4).tolist() == [1, 2, 3, -1]
    paths = ["v/10.jpg", "v/2.jpg", "w/30.jpg", "v/3.jpg"]
    assert next_frames(paths, [{"sequence": "v"}, {"sequence": "v"}, {"sequence": "v"}, {}]).tolist() == [2, 0, -1, -1]
