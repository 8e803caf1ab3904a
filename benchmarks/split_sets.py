"""Generated label sets for the split benchmarks: long-tailed, uniform, correlated, and what should trip a stratifier."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from splitrail_split.splits.algorithm.stratify import Images


@dataclass(frozen=True)
class LabelSet:
    """(image, class) pairs of n images, sorted and distinct."""

    name: str
    n: int
    n_classes: int
    image: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]

    def images(self, groups: npt.NDArray[np.int64] | None = None) -> Images:
        """As the stratifier takes it, with content drawn at random."""
        content = np.random.default_rng(self.n).integers(0, 256, (self.n, 32), dtype=np.uint8)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(self.image, minlength=self.n))])
        return Images(content, indptr, self.classes, self.n_classes, [] if groups is None else [groups])

    def matrix(self) -> npt.NDArray[np.bool_]:
        """(n, n_classes), as peers take it."""
        dense = np.zeros((self.n, self.n_classes), dtype=np.bool_)
        dense[self.image, self.classes] = True
        return dense

    def held(self, part: npt.NDArray[np.integer], k: int) -> npt.NDArray[np.int64]:
        """(n_classes, k): images with each class in each part."""
        return np.bincount(self.classes * k + part[self.image], minlength=self.n_classes * k).reshape(self.n_classes, k)


def _set(name: str, n: int, n_classes: int, pairs: npt.NDArray[np.int64]) -> LabelSet:
    pairs = np.unique(pairs)
    return LabelSet(name, n, n_classes, pairs // n_classes, pairs % n_classes)


def long_tailed(n: int, n_classes: int = 80, seed: int = 0) -> LabelSet:
    """About three labels an image, class rates by Zipf's law with exponent 1.5, eight kinds of scenes that favour some
    classes.
    """
    rng = np.random.default_rng(seed)
    rates = 1 / np.arange(1, n_classes + 1) ** 1.5
    scenes = rates * np.exp(rng.normal(0, 1, (8, n_classes)))
    scenes /= scenes.sum(1, keepdims=True)
    cumulative = scenes.cumsum(1)
    image = np.repeat(np.arange(n), rng.poisson(3, n))
    scene = rng.integers(0, 8, n)[image]
    drawn = rng.random(len(image))
    classes = np.empty(len(image), dtype=np.int64)
    for one in range(8):
        where = scene == one
        classes[where] = np.minimum(np.searchsorted(cumulative[one], drawn[where]), n_classes - 1)
    return _set("long-tailed", n, n_classes, image * n_classes + classes)


def uniform(n: int, n_classes: int = 80) -> LabelSet:
    """Three labels an image, every class as frequent as any."""
    rng = np.random.default_rng(1)
    image = np.repeat(np.arange(n), 3)
    return _set("uniform", n, n_classes, image * n_classes + rng.integers(0, n_classes, len(image)))


def correlated(n: int, n_classes: int = 80) -> LabelSet:
    """Blocks of five classes that come together."""
    rng = np.random.default_rng(2)
    block = rng.integers(0, n_classes // 5, n)
    image = np.repeat(np.arange(n), 5)
    keep = rng.random(5 * n) < 0.6
    return _set(
        "correlated", n, n_classes, (image * n_classes + np.repeat(block * 5, 5) + np.tile(np.arange(5), n))[keep]
    )


def beside_rarer(n: int) -> LabelSet:
    """Adversarial: the last ten of sixty classes occur only beside one of the first fifty, which are rarer: no image is
    theirs to place.
    """
    rng = np.random.default_rng(3)
    owner = rng.integers(0, 50, n)
    pairs = [np.arange(n) * 60 + owner]
    for one in range(50, 60):
        beside = np.flatnonzero(np.isin(owner, rng.choice(50, 30, replace=False)) & (rng.random(n) < 0.7))
        pairs.append(beside * 60 + one)
    return _set("only beside rarer ones", n, 60, np.concatenate(pairs))


def one_everywhere(n: int) -> LabelSet:
    """Adversarial: one class in every image."""
    base = long_tailed(n)
    return _set("one in every image", n, 81, np.concatenate([base.image * 81 + base.classes, np.arange(n) * 81 + 80]))


def many_rare(n_classes: int = 2000) -> LabelSet:
    """Adversarial: three images a class."""
    n = 3 * n_classes
    return _set(
        "2,000 classes of 3 images",
        n,
        n_classes,
        np.arange(n) * n_classes + np.random.default_rng(4).permutation(n) % n_classes,
    )


def clips(n: int, mean: int = 6, seed: int = 5) -> npt.NDArray[np.int64]:
    """(n,) groups of geometrically distributed sizes, as clips of video give."""
    sizes = np.minimum(np.random.default_rng(seed).geometric(1 / mean, n), 200)
    return np.repeat(np.arange(n), sizes)[:n]
