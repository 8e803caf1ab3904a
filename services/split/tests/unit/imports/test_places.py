"""Which objects of which buckets a project may import."""

import pytest
from splitrail_split.imports.places import Location, Places

PLACES = Places(("incoming/{project}/", "s3://raw/", "s3://raw/{project}/site/"), "ours")


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("incoming/cells/cam1/a.jpg", "", (Location("ours", "incoming/cells/cam1/a.jpg"), "cam1/a.jpg")),
        ("s3://ours/incoming/cells/a.jpg", "", (Location("ours", "incoming/cells/a.jpg"), "a.jpg")),
        ("s3://raw/x/a.PNG", "renamed.png", (Location("raw", "x/a.PNG"), "renamed.png")),
        (
            "s3://raw/cells/site/7/a.jpg",
            "",
            (Location("raw", "cells/site/7/a.jpg"), "7/a.jpg"),
        ),  # the longest prefix names it
    ],
)
def test_what_may_be_imported(name, path, expected):
    assert PLACES.locate("cells", name, path) == expected


@pytest.mark.parametrize(
    ("name", "path", "why"),
    [
        ("projects/cells/assets/" + "0" * 64 + ".jpg", "", "does not lie where"),
        ("incoming/others/a.jpg", "", "incoming/cells/"),
        ("incoming/cells/../others/a.jpg", "", "segment"),
        ("incoming/cells//a.jpg", "", "segment"),
        ("s3://secret/a.jpg", "", "does not lie where"),
        ("s3://ours/projects/a.jpg", "", "does not lie where"),
        ("incoming/cells", "", "does not lie where"),
        ("", "", "empty"),
        ("s3://raw", "", "empty"),
        ("s3://raw/a.jpg", "../a.jpg", "path that"),
        ("s3://raw/a.txt", "", "not the name of an image file"),
        ("s3://raw/a\x00.jpg", "", "control"),
    ],
)
def test_what_may_not(name, path, why):
    with pytest.raises(ValueError, match=why):
        PLACES.locate("cells", name, path)


def test_a_projects_id_opens_nothing_of_the_platforms():
    with pytest.raises(ValueError, match="does not lie where"):
        Places(("{project}/",), "ours").locate("projects", "projects/other/assets/" + "0" * 64, "a.jpg")


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "incoming",
        "projects/",
        "staging/x/",
        "s3://ours/",
        "s3://ours/attempts/",
        "s3://raw/half",
        "s3://{project}/",
    ],
)
def test_prefixes_that_would_open_too_much(prefix):
    with pytest.raises(ValueError, match="prefix"):
        Places((prefix,), "ours")
