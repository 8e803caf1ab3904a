"""From a parsed source to a version: repeats, the report's numbers, ordinals, columns."""

import hashlib

import pytest
from splitrail_common.annotations import LabelState
from splitrail_split import formats
from splitrail_split.contents.store import KnownAsset
from splitrail_split.contents.verify import Fault, Inspected
from splitrail_split.domain import arrays
from splitrail_split.imports.assembly import assemble, check, printable
from splitrail_split.imports.domain import Claim, SourceFile
from splitrail_split.imports.job import refusal

CLAIM = Claim(
    "i", "default", "cells", 1, formats.Format.YOLO, strict=False, dry_run=False, image_count=0, claims=1, owner="o"
)


def source(contents: dict[str, str], labels: dict[str, bytes]):
    """Images by path with a word for their bytes (`bad`: undecodable), and label files."""
    hashes = {path: hashlib.sha256(word.encode()).digest() for path, word in contents.items()}
    bad = {path for path, word in contents.items() if word == "bad"}
    files = [SourceFile(path, sha256, 10, is_image=True) for path, sha256 in hashes.items()]
    inspected = Inspected(
        good={sha256: KnownAsset(sha256, 100, 50, 10, "JPEG", 0) for path, sha256 in hashes.items() if path not in bad},
        bad={hashes[path]: Fault("bad_image", "does not decode") for path in bad},
    )
    sizes = {path: (100, 50) for path in contents if path not in bad}
    parsed = formats.parse(formats.Format.YOLO, {"data.yaml": b"names: [a, b]", **labels}, sizes, bad)
    return parsed, files, inspected


def test_an_annotated_copy_wins_over_an_unlabelled_one_and_the_first_over_later_ones():
    labels = {"labels/b.txt": b"0 0.5 0.5 0.1 0.1\n", "labels/c.txt": b"1 0.5 0.5 0.1 0.1\n"}
    parsed, files, inspected = source(
        {"images/a.jpg": "x", "images/b.jpg": "x", "images/c.jpg": "x", "images/d.jpg": "y"}, labels
    )
    checked = check(parsed, files, inspected)
    assert [item.path for item in checked.items] == ["images/b.jpg", "images/d.jpg"]
    assert [(one.path, one.image_excluded) for one in checked.report.findings] == [
        ("images/a.jpg", True),
        ("images/c.jpg", True),
    ]
    assert all("images/b.jpg" in one.message and "differ" in one.message for one in checked.report.findings)
    assert (checked.report.problem_count, checked.report.excluded_count) == (2, 2)


def test_columns_and_rows_agree():
    labels = {
        "labels/a.txt": b"1 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.2 0.2\n",
        "labels/b.txt": b"",
        "labels/c.txt": b"7 0.5 0.5 0.1 0.1\n0 0.1 0.1 0.1 0.1\n",
    }
    parsed, files, inspected = source(
        {"images/c.jpg": "c", "images/a.jpg": "a", "images/b.jpg": "b", "images/d.jpg": "d", "images/e.jpg": "bad"},
        labels,
    )
    checked = check(parsed, files, inspected)
    new = assemble(CLAIM, checked, parsed, files, inspected)
    assert [(row[0], row[2], row[7]) for row in new.rows] == [
        (0, "images/a.jpg", LabelState.LABELLED),
        (1, "images/b.jpg", LabelState.EMPTY),
        (2, "images/c.jpg", LabelState.LABELLED),
        (3, "images/d.jpg", LabelState.UNLABELLED),
    ]
    assert (new.image_count, new.object_count, new.empty_count, new.unlabelled_count) == (4, 3, 1, 1)
    assert (new.class_images, new.class_objects) == ([2, 1], [2, 1])
    assert arrays.decode(arrays.OBJECTS, new.columns[arrays.OBJECTS]).tolist() == [2, 0, 1, 0]
    assert arrays.decode(arrays.CLASS_IDS, new.columns[arrays.CLASS_IDS]).tolist() == [0, 1, 0]
    assert arrays.decode(arrays.CONTENT, new.columns[arrays.CONTENT])[0].tobytes() == hashlib.sha256(b"a").digest()
    assert (checked.report.problem_count, checked.report.excluded_count) == (2, 1)


def test_the_digest_does_not_depend_on_names():
    labels = {"labels/a.txt": b"1 0.5 0.5 0.1 0.1\n"}
    renamed = {"labels/z.txt": labels["labels/a.txt"]}
    digests = set()
    for contents, rows in [
        ({"images/a.jpg": "x", "images/b.jpg": "y"}, labels),
        ({"images/z.jpg": "x", "images/c.jpg": "y"}, renamed),
    ]:
        parsed, files, inspected = source(contents, rows)
        digests.add(assemble(CLAIM, check(parsed, files, inspected), parsed, files, inspected).digest)
    assert len(digests) == 1


def test_notes_do_not_make_strict_refuse():
    strict = Claim(
        "i", "default", "cells", 1, formats.Format.YOLO, strict=True, dry_run=False, image_count=1, claims=1, owner="o"
    )
    parsed, files, inspected = source({"images/a.jpg": "x"}, {"labels/a.txt": b"0 0.1 0.1 0.5 0.1 0.5 0.5\n"})
    checked = check(parsed, files, inspected)
    assert [one.note for one in checked.report.findings] == [True]
    assert (checked.report.problem_count, checked.report.note_count) == (0, 1)
    assert refusal(strict, checked, parsed) == ""
    parsed, files, inspected = source({"images/a.jpg": "x", "images/b.jpg": "bad"}, {"labels/a.txt": b""})
    assert "strict: the source has 1 problem" in refusal(strict, check(parsed, files, inspected), parsed)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_cannot_be_stored_is_made_printable(text):
    assert printable(text).encode().decode() == printable(text) != text
