"""What stands in an exported folder reads back as what was exported, and no name gets out of it."""

import contextlib
import dataclasses
import io
import json
import unicodedata
from pathlib import PurePosixPath

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from splitrail_common.annotations import (
    SCALE,
    Annotation,
    AnnotationError,
    Kind,
    LabelState,
    box_from_yolo,
    pack,
    unpack,
)
from splitrail_split import formats
from splitrail_split.contents import thumbnails
from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Asset, Version
from splitrail_split.exports import coco, layout, names, yolo
from splitrail_split.exports.convert import MESSAGE_BYTES, Messages
from splitrail_split.exports.domain import Flush, ImageFiles
from splitrail_split.exports.pieces import Pieces, whole
from splitrail_split.formats import shapes
from splitrail_split.imports.sources import path_problem

CLASSES = 12
edges = st.sampled_from([0.0, 1e-6, 2e-6, 5e-7, 1 / 3, 0.5, 0.999999, 0.9999995, 1.0])
fractions = st.one_of(edges, st.floats(0, 1))
sides = st.integers(1, 100_000)


@st.composite
def boxes(draw: st.DrawFn) -> Annotation:
    """Boxes as an import leaves them, those of one unit and those of the whole image among them."""
    while True:
        try:
            return box_from_yolo(
                draw(st.integers(0, CLASSES - 1)), draw(fractions), draw(fractions), draw(fractions), draw(fractions)
            )
        except AnnotationError:
            continue


def parsed_yolo(packed, class_names):
    files = {
        "labels/train/a.txt": yolo.rows(packed).encode(),
        "data.yaml": yolo.data_yaml("c@v1", {"train": "images/train"}, class_names).encode(),
    }
    return formats.parse(formats.Format.YOLO, files, {"images/train/a.jpg": (640, 480)})


def parsed_coco(packed, class_names, size=(640, 480), path="images/train/a.jpg", kind=Kind.BOX):
    document = coco.Document(class_names, "c@v1")
    image = coco.Image(1, path, *size)
    data = b"".join(
        [
            document.start(),
            document.images([image]),
            document.turn(),
            document.annotations(image, packed),
            document.end(),
        ]
    )
    return formats.parse(formats.Format.COCO, {"annotations/instances_train.json": data}, {path: size}, kind=kind)


EVERYTHING = layout.ExportRequest("", "", "", (), layout.Layout.YOLO, include_unlabelled=True, after=-1)


def version_of(class_names):
    known = {"dataset_name": "c", "number": 1, "class_names": class_names}
    return Version(**({field.name: None for field in dataclasses.fields(Version)} | known))


def asset_at(ordinal):
    known = {"ordinal": ordinal, "path": f"x{ordinal}.png", "format": "JPEG"}
    return Asset(**({field.name: None for field in dataclasses.fields(Asset)} | known))


def class_list(count=CLASSES):
    return [f"class {index}" for index in range(count)]


@given(st.sets(boxes(), max_size=10))
def test_boxes_survive_a_yolo_folder(annotations):
    parsed = parsed_yolo(pack(annotations), class_list())
    assert parsed.problems == []
    assert [(item.annotations, item.label_state) for item in parsed.items] == [
        (pack(annotations), LabelState.LABELLED if annotations else LabelState.EMPTY)
    ]


@given(st.sets(boxes(), max_size=10), sides, sides)
@example({box_from_yolo(0, 0.0, 1.0, 1e-6, 1e-6)}, 1, 1)
@example({box_from_yolo(3, 0.5, 0.5, 1.0, 1.0)}, 99_991, 3)
@example({box_from_yolo(0, 0.0000005, 0.9999995, 0.000001, 0.000001)}, 4096, 7)
def test_boxes_survive_a_coco_file_of_any_image_size(annotations, width, height):
    parsed = parsed_coco(pack(annotations), class_list(), (width, height))
    assert parsed.problems == []
    assert parsed.class_names == class_list()
    assert [item.annotations for item in parsed.items] == [pack(annotations)]


corners = st.tuples(fractions, fractions)


@given(st.lists(st.tuples(corners, corners, corners, corners), max_size=6), sides, sides)
@example(
    [((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)), ((0.0, 0.0), (0.0, 0.0), (1e-6, 0.0), (0.0, 1e-6))], 4096, 7
)
def test_oriented_boxes_survive_a_coco_file_of_any_image_size(drawn, width, height):
    annotations = set()
    for class_id, one in enumerate(drawn):
        with contextlib.suppress(AnnotationError):
            annotations.add(shapes.oriented(class_id, one))
    parsed = parsed_coco(pack(annotations), class_list(), (width, height), kind=Kind.OBB)
    assert parsed.problems == []
    assert [item.annotations for item in parsed.items] == [pack(annotations)]


# What imports refuse (NUL, broken Unicode) cannot be a class name, and neither can what imports strip.
class_names = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).map(str.strip).filter(bool),
    min_size=1,
    max_size=8,
    unique=True,
)
HOSTILE = [
    "no", "1.0", "null", "~", "None", "../../x", "a: b", "- x", "{x}", "!!python/object/apply:os.system ['true']", "&a *a", "a\nb", "a\tb", "\\n",
    '"q"', "it's", "#", "é中🙂", "a\x85b", "a\u2028b", "\ufeff", "\x7f", "\x1b[2J", "<script>", "%s", "x" * 300,
]  # fmt: skip


@given(class_names)
@example(HOSTILE)
def test_class_names_stay_data(given_names):
    packed = pack([box_from_yolo(len(given_names) - 1, 0.5, 0.5, 0.1, 0.1)])
    for parsed in (parsed_yolo(packed, given_names), parsed_coco(packed, given_names)):
        assert parsed.problems == []
        assert parsed.class_names == given_names
        assert parsed.items[0].annotations == packed
    text = yolo.data_yaml("c@v1", {"train": "images/train", "val": "images/val"}, given_names)
    assert yaml.safe_load(text) == {"train": "images/train", "val": "images/val", "names": dict(enumerate(given_names))}
    assert all(line.isprintable() or "\\" in line or not line.isascii() for line in text.splitlines())


def test_data_yaml_never_offers_test_images_for_training():
    test = {"test": "images/test"}
    assert yaml.safe_load(yolo.data_yaml("c@v1#1", test, ["a"])) == {
        "train": None,
        "val": None,
        **test,
        "names": {0: "a"},
    }
    assert yaml.safe_load(yolo.data_yaml("c@v1#1", {"val": "images/val", **test}, ["a"]))["train"] is None
    whole = yolo.data_yaml("c@v1#1", {"train": "images/train", **test}, ["a"], (17, 3), (1, 0))
    assert yaml.safe_load(whole) == {
        "train": "images/train",
        "val": "images/train",
        **test,
        "kpt_shape": [17, 3],
        "names": {0: "a"},
    }
    assert "val is train" in whole
    assert yaml.safe_load(yolo.data_yaml("c@v1", {"train": "images/all"}, []))["names"] == {}


def test_data_yaml_says_which_keypoints_a_mirrored_image_exchanges():
    assert yaml.safe_load(yolo.data_yaml("c@v1", {"train": "images/all"}, ["a"], (3, 3), [1, 0, 2]))["flip_idx"] == [
        1,
        0,
        2,
    ]


def test_rows_of_every_kind():
    kinds = {
        Kind.BOX: ((500_000, 250_000, 1, SCALE), "3 0.500000 0.250000 0.000001 1.000000\n"),
        Kind.POLYGON: ((0, 0, 1, 0, 500_000, SCALE), "3 0.000000 0.000000 0.000001 0.000000 0.500000 1.000000\n"),
        Kind.OBB: (
            (1, 2, 3, 4, 5, 6, 7, 8),
            "3 0.000001 0.000002 0.000003 0.000004 0.000005 0.000006 0.000007 0.000008\n",
        ),
    }
    for kind, (values, row) in kinds.items():
        packed = pack([Annotation(3, kind, values)])
        assert yolo.rows(packed) == row
        assert yolo.keypoint_shape(packed) is None
    packed = pack([Annotation(3, Kind.KEYPOINTS, (500_000, 250_000, 1, 2, 100_000, 200_000, 2, 0, 0, 0))])
    assert yolo.rows(packed) == "3 0.500000 0.250000 0.000001 0.000002 0.100000 0.200000 2 0.000000 0.000000 0\n"
    assert yolo.keypoint_shape(packed) == (2, 3)
    with pytest.raises(yolo.UnwritableError, match="CLASS"):
        yolo.rows(pack([Annotation(0, Kind.CLASS, ())]))


def coco_annotations(*annotations, size=(200, 100)):
    document = coco.Document(["a", "b", "c", "d"], "c@v1")
    image = coco.Image(7, "images/all/a.jpg", *size)
    document.turn()
    return json.loads(b"[" + document.annotations(image, pack(annotations)) + b"]")


def test_coco_shapes_of_every_kind():
    box, polygon, points = coco_annotations(
        Annotation(0, Kind.BOX, (500_000, 500_000, 250_000, 500_000)),
        Annotation(1, Kind.POLYGON, (0, 0, 500_000, 0, 500_000, SCALE)),
        Annotation(2, Kind.KEYPOINTS, (500_000, 500_000, 250_000, 500_000, 100_000, 200_000, 2, 0, 0, 0)),
    )
    assert box == {
        "id": 1,
        "image_id": 7,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [75, 25, 50, 50],
        "area": 2500,
        "segmentation": [],
    }
    assert (polygon["segmentation"], polygon["bbox"], polygon["area"]) == (
        [[0, 0, 100, 0, 100, 100]],
        [0, 0, 100, 100],
        5000,
    )
    assert (points["keypoints"], points["num_keypoints"], points["bbox"]) == ([20, 20, 2, 0, 0, 0], 1, [75, 25, 50, 50])
    (turned,) = coco_annotations(Annotation(0, Kind.OBB, (500_000, 0, SCALE, 500_000, 500_000, SCALE, 0, 500_000)))
    assert (turned["segmentation"], turned["bbox"], turned["area"]) == (
        [[100, 0, 200, 50, 100, 100, 0, 50]],
        [0, 0, 200, 100],
        10_000,
    )
    with pytest.raises(yolo.UnwritableError, match="CLASS"):
        coco_annotations(Annotation(0, Kind.CLASS, ()))


any_path = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            [
                "images",
                "train",
                "..",
                ".",
                "",
                "CON",
                "a.jpg",
                "a~1",
                "A.JPG",
                "é",
                "e\u0301",
                " a ",
                "a.",
                "labels",
                "nul.txt",
                "x" * 250,
            ]
        ),
    ),
    min_size=1,
    max_size=5,
).map("/".join)


def is_one_file(path):
    """What a path is called on a file system that knows neither case nor composition."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


@given(st.lists(any_path, min_size=1, max_size=12))
@example(["a.jpg", "A.JPG", "a.png", "train/a.jpg", "a~1.jpg", "a~0~1.jpg"])
@example(["../../etc/passwd", "/etc/passwd", "C:\\x.jpg", "\0", "a\nb.jpg", "x" * 2000, "-rf", "~/.ssh/id.jpg"])
@example(["a.jpg/b.jpg", "a.jpg", "a.txt/b.jpg", "Straße/x.jpg", "STRASSE/X.jpg"])
def test_names_are_safe_and_unique_for_every_file_system(paths):
    repeated = names.repeated(names.keys(map(names.stem, paths))).tolist()
    made = []
    for ordinal, path in enumerate(paths):
        stem = names.stem(path)
        made.append(names.numbered(stem, ordinal) if names.key(stem) in repeated else stem)
    for stem in made:
        for target in (f"images/unassigned/{stem}.jpg", f"labels/unassigned/{stem}.txt"):
            assert path_problem(target) is None
            assert all(part.strip(" .") == part and not part.startswith(".") for part in target.split("/"))
        assert "images" not in stem.lower().split("/")[:-1]
        assert not set(stem) & set('<>:"\\|?*')
        assert stem.isprintable() or any(unicodedata.category(one) == "Zs" for one in stem)
        written = PurePosixPath(f"images/train/{stem}.jpg")
        assert written.with_suffix(".txt") == PurePosixPath(
            f"images/train/{stem}.txt"
        )  # as an import looks for the label file
    assert len({is_one_file(stem) for stem in made}) == len(paths)
    folders = {is_one_file(str(parent)) for stem in made for parent in PurePosixPath(stem).parents}
    assert folders.isdisjoint(
        is_one_file(f"{stem}{extension}") for stem in made for extension in (".jpg", ".png", ".txt")
    )


@given(class_names)
@example(HOSTILE)
@example(
    ["images", "train", "all", "a~1", "a", "A", "a.jpg", "con", ".hidden", "x" * 300, "y/z", "y_z", "é", "e\u0301"]
)
def test_folders_of_classes_are_safe_and_stay_what_they_are(given_names):
    folders = names.class_folders(given_names)
    assert len({is_one_file(folder) for folder in folders}) == len(given_names)
    for folder in folders:
        assert path_problem(f"unassigned/{folder}/{'x' * 200}/{'/'.join(['x' * 199] * 3)}~99999999.jpeg") is None
        assert folder.strip(" .") == folder
        assert "/" not in folder
    # An image that lies in the folder of its class already does not get another one.
    labels = arrays.Labels(np.arange(len(given_names) + 1), np.arange(len(given_names), dtype=np.uint16))
    states = np.full(len(given_names), LabelState.LABELLED)
    made = layout.plan(
        version_of(given_names), None, None, states, EVERYTHING, class_tree=layout.tree_of(given_names, labels)
    )
    assert list(made.stems([f"train/{folder}/1.jpg" for folder in folders])) == [f"{folder}/1" for folder in folders]
    listed = layout.class_list(made.class_tree, given_names).encode()
    images = [f"train/{folder}/1.jpg" for folder in folders]
    parsed = formats.parse(
        formats.Format.YOLO, {"class_folders.json": listed}, dict.fromkeys(images, (9, 9)), kind=Kind.CLASS
    )
    assert (parsed.class_names, parsed.problems) == (given_names, [])
    assert {item.path: unpack(item.annotations)[0].class_id for item in parsed.items} == dict(
        zip(images, range(len(images)), strict=True)
    )


def test_a_tree_of_classes_has_every_class_in_every_part():
    names_ = ["b", "a", "unused"]
    #        b  a  b  -  ?  in no part
    states = np.array([3, 3, 3, 2, 1, 3], dtype=np.uint8)
    labels = arrays.labels(np.array([1, 1, 1, 0, 0, 1]), np.array([0, 1, 0, 1], dtype=np.uint16))
    vector = np.array([1, 1, 3, 3, 0, 0], dtype=np.uint8)
    made = layout.plan(version_of(names_), None, vector, states, EVERYTHING, class_tree=layout.tree_of(names_, labels))
    assert made.placeholders() == [
        f"{one}/.gitkeep" for one in ("train/unused", "val/b", "val/a", "val/unused", "test/a", "test/unused")
    ]
    shown = [asset_at(ordinal) for ordinal in range(6)]
    assert [made.image_path(one, made.stem(one.ordinal, one.path)) for one in shown] == [
        "train/b/x0.jpg", "train/a/x1.jpg", "test/b/x2.jpg", "images/test/x3.jpg", "images/unassigned/x4.jpg", "unassigned/a/x5.jpg",
    ]  # fmt: skip
    assert [made.label_path(one, "s") for one in shown] == [None, None, None, "labels/test/s.txt", None, None]
    assert made.file_count == 2 + 6 + 1 + 6


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("images/00001.jpg", "00001"),
        ("train/images/Clip 1/frame_0003.JPEG", "Clip 1/frame_0003"),
        ("JPEGImages/cell.v2.png", "cell.v2"),
        ("images/all/site-a/1.jpg", "site-a/1"),
        ("images/valid/1~17.jpg", "1"),
        ("notes.jpg/1.bmp", "notes_jpg/1"),
        ("aux.jpg", "_aux"),
        ("..hidden.jpg", "hidden"),
        (".jpg", "_"),
        ("no extension", "no extension"),
    ],
)
def test_what_of_a_path_stays(path, stem):
    assert names.stem(path) == stem


def test_a_long_path_keeps_its_name():
    assert names.stem("/".join(["folder" * 20] * 8) + "/frame.jpg") == "frame"
    assert len(names.stem("é" * 500).encode()) <= 200


@given(st.lists(st.binary(max_size=700_000), max_size=4))
def test_files_come_whole_in_messages_of_bounded_size(contents):
    sent = Messages().take(
        [*(ImageFiles(ordinal, whole(f"{ordinal}.txt", data)) for ordinal, data in enumerate(contents)), Flush()]
    )
    assert all(message.ByteSize() < 2 * MESSAGE_BYTES for message in sent)
    received: dict[str, bytes] = {}
    done = -1
    for message in sent:
        for file in message.files:
            received[file.path] = received.get(file.path, b"") + file.data
            assert file.more == (not file.sha256)
            if not file.more:
                assert file.size_bytes == len(received[file.path])
                done += 1
        assert (message.cursor if message.HasField("cursor") else -1) == done
    assert [received[f"{ordinal}.txt"] for ordinal in range(len(contents))] == contents
    assert not sent or sent[-1].cursor == len(contents) - 1


def test_a_file_without_bytes_is_a_file():
    (only,) = whole("labels/a.txt", b"")
    assert (only.data, only.size_bytes, only.more) == (b"", 0, False)
    pieces = Pieces("a")
    assert list(pieces.feed(b"x")) == []
    assert pieces.end().data == b"x"


def test_documents_of_a_plan_list_what_somebody_has_looked_at():
    version = version_of(["a"])
    states = np.array([3, 2, 1, 3, 3], dtype=np.uint8)
    order = dataclasses.replace(EVERYTHING, layout=layout.Layout.COCO)
    plan = layout.plan(version, None, None, states, order)
    assert plan.counts == {0: 1, 4: 4}
    assert [(path, ordinals.tolist()) for path, ordinals in plan.documents()] == [
        ("annotations/instances_all.json", [0, 1, 3, 4])
    ]
    assert (plan.file_count, plan.image_folders) == (1 + 5 + 1, {"train": "images/all"})
    unlabelled = layout.plan(version, None, None, np.ones(5, np.uint8), order)
    assert [(path, len(ordinals)) for path, ordinals in unlabelled.documents()] == [
        ("annotations/instances_all.json", 0)
    ]
    assert json.loads(layout.lock(plan))["split"] is None


@pytest.mark.parametrize(
    ("mode", "format_"),
    [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("I;16", "TIFF"), ("1", "BMP")],
)
def test_thumbnails_of_every_kind_of_image(mode, format_):
    source = io.BytesIO()
    Image.new(mode, (1024, 512)).save(source, format_)
    with Image.open(io.BytesIO(thumbnails.make(source.getvalue()))) as made:
        assert (made.format, made.size) == ("JPEG", (256, 128))


def test_a_thumbnail_is_upright_and_not_enlarged():
    source = io.BytesIO()
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise: what was left is at the top
    image.save(source, "JPEG", exif=exif)
    with Image.open(io.BytesIO(thumbnails.make(source.getvalue()))) as made:
        assert made.size == (20, 40)
        assert made.getpixel((10, 5)) < (60, 60, 60) < (200, 200, 200) < made.getpixel((10, 35))
