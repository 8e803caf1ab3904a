"""Which rule of grouping a source seems to ask for."""

import pytest
from splitrail_common.annotations import LabelState
from splitrail_split.formats import ParsedImage
from splitrail_split.imports import suggest


def items(*paths, **metadata):
    return [ParsedImage(path, b"\1", LabelState.EMPTY, metadata) for path in paths]


@pytest.mark.parametrize(
    ("paths", "rule"),
    [
        ([f"images/cam{c}_{n:04}.jpg" for c in range(3) for n in range(4)], suggest.PATTERNS[1]),
        ([f"images/site-{c}-frame{n}.jpg" for c in "ab" for n in range(4)], suggest.PATTERNS[1]),
        ([f"train/images/x{c}_jpg.rf.{n:032x}.jpg" for c in range(3) for n in range(3)], suggest.PATTERNS[0]),
        ([f"images/patient{c}/{n:04}.jpg" for c in range(3) for n in range(4)], "folder"),
        ([f"images/cell_{n:05}.jpg" for n in range(20)], None),
        ([f"images/{n:05}.jpg" for n in range(20)], None),
        ([f"{part}/images/{n:05}.jpg" for part in ("train", "valid") for n in range(9)], None),
        ([f"images/{name}1.jpg" for name in ("a", "b", "c")], None),
        ([f"images/{name}.jpg" for name in ("a1", "a2", "b1", "b2", *"cdefghijk")], None),
        ([], None),
    ],
)
def test_rules(paths, rule):
    found = suggest.groups(items(*paths))
    if rule is None:
        assert found is None
    else:
        assert (found.code, found.note) == ("group_suggested", True)
        assert f"'{rule}'" in found.message.replace("name:", "")


def test_sequences_come_first_and_classes_are_no_groups():
    paths = [f"{c}/{n}.jpg" for c in "ab" for n in range(4)]
    assert "--group-by 'folder'" in suggest.groups(items(*paths)).message
    assert suggest.groups(items(*paths), folders=False) is None
    sequences = [one for c in "ab" for one in items(f"{c}/1.jpg", f"{c}/2.jpg", sequence=c)]
    assert "metadata:sequence" in suggest.groups(sequences).message
