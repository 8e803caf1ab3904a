"""BaseChanges to a draft equal those to a dictionary, and the columns of a commit equal those of its images."""

import hashlib
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from splitrail_common.annotations import Annotation, Kind, LabelState, pack
from splitrail_split.versions import columns, drafts
from splitrail_split.versions.drafts import BaseChanges, DraftAsset, Upsert, committed, tally, upserted

NAMES = ["", "a", "b", "c", "d"]
PATHS = ["", "1.jpg", "2.jpg", "3.jpg", "4.jpg"]
CONTENTS = [None, *(hashlib.sha256(str(n).encode()).digest() for n in range(5))]
CLASSES = 3
SEEN = LabelState.LABELLED


def boxes(*class_ids: int) -> bytes:
    return pack(Annotation(class_id, Kind.BOX, (n, 5, 5, 5)) for n, class_id in enumerate(class_ids))


said = st.one_of(
    st.just((None, None)),
    st.just((boxes(), LabelState.EMPTY)),
    st.just((boxes(), LabelState.UNLABELLED)),
    st.just((None, SEEN)),
    st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=3).map(lambda ids: (boxes(*ids), SEEN)),
)
upserts = st.builds(
    lambda name, path, content, words, metadata: Upsert(
        name, path, content, *words, metadata, content.hex() + ".jpg" if content else ""
    ),
    st.sampled_from(NAMES),
    st.sampled_from(PATHS),
    st.sampled_from(CONTENTS),
    said,
    st.sampled_from([None, {}, {"site": "x"}]),
).filter(lambda one: one.external_id or one.path)
batches = st.lists(
    st.lists(upserts, min_size=1, max_size=4) | st.lists(st.sampled_from(NAMES[1:] + PATHS[1:]), max_size=3), max_size=6
)
bases = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(PATHS[1:]),
        st.sampled_from(CONTENTS[1:]),
        st.lists(st.integers(0, CLASSES - 1), max_size=2),
    ),
    max_size=4,
    unique_by=(lambda one: one[1], lambda one: one[2]),
).filter(lambda rows: len({row[0] for row in rows if row[0]}) == sum(bool(row[0]) for row in rows))


def base_of(rows) -> list[DraftAsset]:
    return [
        DraftAsset(n, None, name, path, content, SEEN if ids else LabelState.EMPTY, boxes(*ids), {})
        for n, (name, path, content, ids) in enumerate(rows)
    ]


class Recorded:
    """A draft as the tables hold it: rows by position, over a base that never changes."""

    def __init__(self, base: list[DraftAsset]) -> None:
        self.base = base
        self.rows: dict[int, tuple[DraftAsset, bool]] = {}
        self.next = 0
        self.counts = tally(base, CLASSES)

    @property
    def images(self) -> list[DraftAsset]:
        touched = {one.base_ordinal for one, _ in self.rows.values()}
        return [one for one in self.base if one.base_ordinal not in touched] + [
            one for one, removed in self.rows.values() if not removed
        ]

    def _put(self, before, after, removed) -> None:
        if before is not None and before.position is not None:
            del self.rows[before.position]
        if not (removed and after.base_ordinal is None):
            position = after.position
            if position is None:
                position, self.next = self.next, self.next + 1
            self.rows[position] = (replace(after, position=position), removed)

    def upsert(self, batch: list[Upsert]) -> bool:
        keys = {one.external_id for one in batch if one.external_id}
        paths = {path for one in batch for path in (one.path, one.default_path) if path}
        contents = {one.sha256 for one in batch if one.sha256}
        found = [one for one in self.images if one.external_id in keys or one.path in paths or one.sha256 in contents]
        done = upserted(found, batch)
        if done.wrong:
            return False
        difference = tally([after for _, after in done.changes], CLASSES) - tally(
            [one for one, _ in done.changes if one], CLASSES
        )
        self.counts = self.counts - (tally([], CLASSES) - difference)
        for before, after in done.changes:
            self._put(before, after, removed=False)
        return True

    def delete(self, names: list[str]) -> None:
        gone = [one for one in self.images if one.external_id in names or one.path in names]
        self.counts = self.counts - tally(gone, CLASSES)
        for one in gone:
            self._put(one, one, removed=True)


def naive(images: list[dict], batch: list[Upsert]) -> list[dict] | None:
    """The same in the plainest way: a list of dictionaries. None: refused."""
    result, touched = [dict(one) for one in images], set()
    for one in batch:
        index = next(
            (n for n, image in enumerate(images) if one.external_id and image["external_id"] == one.external_id), None
        )
        if index is None:
            at_path = (n for n, image in enumerate(images) if image["path"] == one.path)
            index = next((n for n in at_path if not (one.external_id and images[n]["external_id"])), None)
        if index is None:
            if one.sha256 is None:
                return None
            image = {
                "external_id": "",
                "path": one.default_path,
                "sha256": b"",
                "label_state": 1,
                "annotations": boxes(),
                "metadata": {},
            }
            result.append(image)
        elif index in touched:
            return None
        else:
            touched.add(index)
            image = result[index]
        if one.annotations is None and one.label_state == SEEN != image["label_state"]:
            return None
        for name in ("external_id", "path", "sha256"):
            image[name] = getattr(one, name) or image[name]
        for name in ("label_state", "annotations", "metadata"):
            if getattr(one, name) is not None:
                image[name] = getattr(one, name)
    for name in ("external_id", "path", "sha256"):
        values = [image[name] for image in result if image[name]]
        if len(set(values)) < len(values):
            return None
    return result


def plain(one: DraftAsset) -> dict:
    return {
        name: getattr(one, name) for name in ("external_id", "path", "sha256", "label_state", "annotations", "metadata")
    }


def columns_of(images: list[DraftAsset]) -> columns.Columns:
    return columns.of_images(
        [one.sha256 for one in images],
        [one.annotations for one in images],
        [one.label_state for one in images],
        [one.sha256[0] - 128 for one in images],
    )


def assert_equal(one: columns.Columns, other: columns.Columns) -> None:
    for name in ("content", "annotation", "label_state", "perceptual_hash"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.array_equal(one.labels.indptr, other.labels.indptr)
    assert np.array_equal(one.labels.class_ids, other.labels.class_ids)


@given(bases, batches)
def test_a_draft_equals_a_list_of_dictionaries(rows, steps):
    draft = Recorded(base_of(rows))
    model = [plain(one) for one in draft.base]
    for step in steps:
        if step and isinstance(step[0], Upsert):
            wanted = naive(model, step)
            assert draft.upsert(step) == (wanted is not None)
            model = model if wanted is None else wanted
        else:
            draft.delete(step)
            model = [one for one in model if one["external_id"] not in step and one["path"] not in step]
    by_path = sorted((plain(one) for one in draft.images), key=lambda one: one["path"])
    assert by_path == sorted(model, key=lambda one: one["path"])
    counted = tally(draft.images, CLASSES)
    assert (draft.counts.images, draft.counts.objects, draft.counts.empty, draft.counts.unlabelled) == (
        counted.images,
        counted.objects,
        counted.empty,
        counted.unlabelled,
    )
    assert draft.counts.class_images.tolist() == counted.class_images.tolist()
    assert draft.counts.class_objects.tolist() == counted.class_objects.tolist()


@given(bases, batches)
def test_the_columns_of_a_commit_equal_those_of_its_images(rows, steps):
    draft = Recorded(base_of(rows))
    for step in steps:
        (draft.upsert if step and isinstance(step[0], Upsert) else draft.delete)(step)
    touched = {
        one.base_ordinal: one for one, removed in draft.rows.values() if one.base_ordinal is not None and not removed
    }
    removed = [one.base_ordinal for one, gone in draft.rows.values() if gone]
    new = sorted((one for one, _ in draft.rows.values() if one.base_ordinal is None), key=lambda one: one.path)
    replaced = sorted(touched)
    changes = BaseChanges(
        removed=np.array(removed, dtype=np.int64),
        replaced=np.array(replaced, dtype=np.int64),
        rows=columns_of([*(touched[ordinal] for ordinal in replaced), *new]),
    )
    in_order = [touched.get(n, one) for n, one in enumerate(draft.base) if n not in removed] + new
    assert_equal(committed(columns_of(draft.base), changes), columns_of(in_order))
    names = [str(n) for n in range(CLASSES)]
    by_path = sorted(draft.images, key=lambda one: one.path)
    assert columns_of(in_order).digest(names) == columns_of(by_path).digest(names)


def test_what_is_wrong_is_named_by_entry_and_field():
    base = base_of([("a", "1.jpg", CONTENTS[1], [0]), ("", "2.jpg", CONTENTS[2], [])])
    batch = [
        Upsert("x", "", None, None, None, None),
        Upsert("a", "", None, None, None, {"site": "x"}),
        Upsert("", "1.jpg", None, None, None, {}),
        Upsert("y", "3.jpg", CONTENTS[2], None, None, None),
        Upsert("z", "3.jpg", CONTENTS[4], None, None, None),
        Upsert("w", "1.jpg", CONTENTS[3], None, SEEN, None),
    ]
    wrong = [(one.index, one.field) for one in upserted(base, batch).wrong]
    assert wrong == [(0, "sha256"), (2, "path"), (3, "sha256"), (4, "path"), (5, "annotations")]


def test_two_images_can_exchange_their_paths_and_bytes():
    base = base_of([("a", "1.jpg", CONTENTS[1], [0]), ("b", "2.jpg", CONTENTS[2], [])])
    batch = [Upsert("a", "2.jpg", CONTENTS[2], None, None, None), Upsert("b", "1.jpg", CONTENTS[1], None, None, None)]
    done = upserted(base, batch)
    assert done.wrong == []
    assert [(after.path, after.sha256) for _, after in done.changes] == [("2.jpg", CONTENTS[2]), ("1.jpg", CONTENTS[1])]
    assert drafts.upserted([after for _, after in done.changes], batch).unchanged == 2
