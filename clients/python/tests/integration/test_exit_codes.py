"""What the command ends with, and what it calls what it was given: 2 for what it sees itself, 3 for what a service
refuses.
"""

import itertools
import shutil

import pytest
from splitrail_local.shapes import generate

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("cells")
    generate(root, images=12, size=48, seed=1)
    return root


@pytest.fixture(scope="module")
def cells(client, folder) -> str:
    """A version with a split."""
    client.import_dataset(folder, "cells")
    client.split("cells@v1")
    return "cells@v1"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--ratios", "a,b,c"], "ratios must be numbers"),
        (["--ratios", "0.5,0.5"], "ratios are three numbers"),
        (["--ratios", "0.7,0.7,0.1"], "add up to 1 (0.7,0.15,0.15); got 0.7,0.7,0.1"),
        (["--ratios", "1.2,-0.2,0"], "numbers from 0 to 1"),
        (["--ratios", "nan,0.5,0.5"], "numbers from 0 to 1"),
        (["--pin", "images/a.jpg"], "not of the form name=value"),
        (["--pin", "images/a.jpg=holdout"], "not a part of a split"),
        (["--group-by", "nothing"], "not a grouping rule"),
        (["--by-hash", "--stratify"], "exclude each other: give one of them"),
    ],
)
@pytest.mark.parametrize("reference", ["cells@v1", "nowhere@v1"])
def test_a_split_that_cannot_be_meant_is_2_whatever_it_is_asked_of(invoke, cells, reference, arguments, sentence):
    done = invoke("split", "create", reference, *arguments)
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    assert sentence in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["split", "create", "cells@v1", "--group-by", "near:7"], "--group-by: must be 0 to 6, not 7"),
        (
            ["split", "create", "cells@v1", "--by-hash", "--group-by", "folder"],
            "--group-by: the method hash places each image by itself",
        ),
        (["split", "create", "cells@v1", "--folds", "3", "--base", "cells@v1#1"], "--folds: cannot be combined with"),
        (
            ["split", "create", "cells@v1", "--group-by", "name:^scene"],
            "--group-by: '^scene' finds nothing in the file names of cells@v1",
        ),
        (["split", "create", "cells@v1", "--pin", "nowhere.jpg=test"], "--pin: "),
        (["split", "create", "nowhere@v1"], "no dataset 'nowhere'"),
        (["split", "ls", "no dataset"], "reference: 'no dataset' is none of: name, name@v3"),
        (["dataset", "ls", "--project", "My Lab"], "--project: must be lower-case letters"),
        (["dataset", "create", "other", "--label", "=".join(["x" * 200, "y"])], "--label: its key"),
        (["train", "data=cells@v1", "model=yolov8n", "epochs=abc"], "arguments.epochs: "),
        (["eval", "run", "cells/1", "--conf", "7"], "no run 'cells/1'"),
    ],
)
def test_what_a_service_refuses_is_3_and_called_by_its_option(invoke, cells, arguments, sentence):
    done = invoke(*arguments)
    assert (done.exit_code, done.stdout) == (3, ""), done.output
    assert done.stderr.startswith(f"splitrail: {sentence}"), done.stderr


def test_names_of_imports_are_called_by_their_options(invoke, folder, cells):
    for arguments, sentence in (
        (["--name", "-"], "--name: must be letters"),
        (["--name", "cells", "--task", "pose"], "--task: the dataset"),
    ):
        done = invoke("dataset", "import", str(folder), *arguments)
        assert (done.exit_code, done.stdout) == (3, ""), done.output
        assert f"splitrail: {sentence}" in done.stderr


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("incoming/default/a.jpg,train\n", 2, "the first row must name the columns"),
        ("", 2, "the first row must name the columns"),
        ("object,object\nincoming/default/a.jpg,x\n", 3, "names a column twice"),
        ("object,class\nelsewhere/a.jpg,rbc\n", 3, "none of the 0 images can be imported"),
        ('\ufeff"object"\nincoming/default/nowhere.jpg\n', 3, "none of the 1 images can be imported"),
        ("object\n\0\n", 3, "holds a NUL byte"),
        (b"\xff\xfe,object\n", 3, "is not UTF-8 text"),
    ],
)
def test_lists_of_objects(invoke, tmp_path, text, code, sentence):
    (tmp_path / "objects.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    done = invoke("dataset", "import", str(tmp_path / "objects.csv"))
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert sentence in done.stderr


def test_a_folder_without_images_is_2(invoke, tmp_path):
    for sentence in ("is an empty folder", "has no images (looked for"):
        done = invoke("dataset", "import", str(tmp_path))
        assert (done.exit_code, sentence in done.stderr) == (2, True), done.output
        (tmp_path / "labels.txt").touch()


def test_an_import_says_when_it_makes_no_version(invoke, folder, cells, tmp_path):
    again = invoke("dataset", "import", str(folder), "--name", "cells")
    assert (again.exit_code, again.stdout.split()[0]) == (0, "cells@v1")
    assert "this source was imported before, as cells@v1: no new version was created\n" in again.stderr
    for number, path in zip(itertools.count(), sorted(folder.rglob("*.*"))):
        copy = tmp_path / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes() + (b"\n" if path.suffix == ".yaml" else b""))
        assert number < 100
    same = invoke("dataset", "import", str(tmp_path), "--name", "cells")
    assert (same.exit_code, same.stdout.split()[0]) == (0, "cells@v1")
    assert "cells@v1 holds all that the source does: no new version was made" in same.stderr
    assert "imported before" not in same.stderr
    assert "no new version" not in invoke("dataset", "import", str(folder), "--name", "cells", "--dry-run").stderr


def test_an_older_source_is_imported_anew_once_another_is_the_newest(invoke, folder, tmp_path):
    def imported():
        done = invoke("dataset", "import", str(tmp_path), "--name", "turns")
        assert done.exit_code == 0, done.output
        return done.stdout.split()[0]

    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    image = min(tmp_path.rglob("*.jpg"))
    files = [image, next(path for path in tmp_path.rglob("*.txt") if path.stem == image.stem)]
    references = [imported()]
    moved = [path.rename(path.with_stem("moved")) for path in files]
    references.append(imported())
    for path, original in zip(moved, files, strict=True):
        path.rename(original)
    references.append(imported())
    assert references == ["turns@v1", "turns@v2", "turns@v3"]
    assert imported() == "turns@v3"
