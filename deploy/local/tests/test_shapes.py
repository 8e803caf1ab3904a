"""The demo's dataset is the same for the same seed, and what it promises."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from PIL import Image
from splitrail_local.shapes import CLASS_NAMES, generate


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(tmp_path / name, images=5, size=64, seed=seed)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert content(tmp_path / "a") != content(tmp_path / "c")


def test_it_is_imbalanced_and_has_reviewed_images_without_objects(tmp_path: Path) -> None:
    generate(tmp_path)
    images = sorted(path.stem for path in (tmp_path / "images").iterdir())
    labels = {path.stem: path.read_text().splitlines() for path in (tmp_path / "labels").iterdir()}
    assert images == sorted(labels)
    assert len(images) == 300
    classes = Counter(int(line.split()[0]) for lines in labels.values() for line in lines)
    assert [kind for kind, _ in classes.most_common()] == list(range(len(CLASS_NAMES)))
    assert classes[0] > 2.5 * classes[3]
    assert sum(not lines for lines in labels.values()) >= 10
    assert max(len(lines) for lines in labels.values()) > 1
    for lines in labels.values():
        for line in lines:
            x, y, width, height = map(float, line.split()[1:])
            assert x - width / 2 + 1e-6 >= 0
            assert x + width / 2 <= 1 + 1e-6
            assert y - height / 2 + 1e-6 >= 0
            assert y + height / 2 <= 1 + 1e-6
    with Image.open(tmp_path / "images" / "shapes_0000.jpg") as image:
        assert image.size == (128, 128)
