"""Names of announced files, and references as people write them: untrusted text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_split.domain.datasets import Reference, parse_reference
from splitrail_split.imports import sources


@pytest.mark.parametrize(
    "path",
    [
        "a.jpg",
        "images/train/ä b.JPEG",
        "labels/x.txt",
        "data.yaml",
        "_darknet.labels",
        "obj.names",
        "LICENSE",
        "docs/README.md",
        "x/..jpg/y.png",
    ],
)
def test_names_that_may_be_announced(path):
    assert sources.path_problem(path) is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty"),
        ("/a.jpg", "absolute"),
        ("c:/a.jpg", "absolute"),
        ("a/../b.jpg", "segment"),
        ("a\\b.jpg", "backslash"),
        ("a\0.jpg", "control"),
        ("labels.cache", "leave it out"),
        ("best.pt", "leave it out"),
        ("a.jpg.exe", "leave it out"),
        ("x" * 252 + ".jpg", "too long"),
    ],
)
def test_names_that_may_not(path, why):
    assert why in (sources.path_problem(path) or "")


@given(st.text(max_size=60))
def test_what_passes_stays_inside_its_folder(path):
    if sources.path_problem(path) is None:
        assert not path.startswith("/")
        assert {"", ".", ".."}.isdisjoint(path.split("/"))


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_none(text):
    found = parse_reference(text)
    assert found is None or (found.name and found.version >= 0 and found.split >= 0)


def test_references():
    assert parse_reference("cells") == Reference("cells", 0, 0)
    assert parse_reference("my.cells_2@v12#3") == Reference("my.cells_2", 12, 3)
    for wrong in ("", "@v1", "cells@v01", "cells@1", "cells#1", "cells@v1#0", "cells@v1\n", "-cells"):
        assert parse_reference(wrong) is None, wrong
