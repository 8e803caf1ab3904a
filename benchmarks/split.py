"""The split service's figures (`make bench-split`): ratios against peers and physical limits in one run, medians of
five.

Assignment: iterative-stratification and scikit-learn's StratifiedGroupKFold. Storage: a numpy-packed binary COPY.
Import: a plain script.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
from figures import Figures
from iterstrat.ml_stratifiers import IterativeStratification
from sklearn.model_selection import StratifiedGroupKFold
from split_sets import LabelSet, beside_rarer, clips, correlated, long_tailed, many_rare, one_everywhere, uniform
from split_store import stored
from splitrail_split.splits.algorithm.stratify import Images, assign
from splitrail_split.versions.near import links

RUNS = 5
RATIOS = (0.8, 0.1, 0.1)
T = TypeVar("T")


def timed(run: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds of this process and the result: machines are shared, and nothing here waits."""
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def iterstrat(matrix: np.ndarray, seed: int) -> np.ndarray:
    """The core of iterative-stratification's ShuffleSplit, once for all three parts: (n,) of 0, 1, 2."""
    return IterativeStratification(labels=matrix, r=np.array(RATIOS), random_state=np.random.RandomState(seed))


def deviation(labels: LabelSet, part: np.ndarray) -> np.ndarray:
    """(n_classes,) the largest distance of a class from its share over the parts, in images."""
    held = labels.held(part, 3)
    return np.abs(held - held.sum(1, keepdims=True) * np.array(RATIOS)).max(1)


def fractions(labels: LabelSet, part: np.ndarray) -> float:
    """The largest deviation of a class as a fraction of its images."""
    held = labels.held(part, 3)
    totals = np.maximum(held.sum(1, keepdims=True), 1)
    return float(np.abs(held / totals - np.array(RATIOS))[held.sum(1) > 0].max())


def ours(images: Images, seed: int) -> np.ndarray:
    """(n,) of 0, 1, 2."""
    return assign(images, ratios=RATIOS, seed=seed) - 1


def stratifying(figures: Figures) -> None:
    """Speed against iterative-stratification, and every class within one image of its deviation."""
    for n, goal, runs in ((10_000, 20, RUNS), (100_000, 40, RUNS), (1_000_000, 25, 1)):
        labels = long_tailed(n)
        images = labels.images()
        matrix = labels.matrix()
        # By turns, here and below: what else the machine does for a while falls on both.
        peers, times = [], []
        for seed in range(RUNS):
            peers += [timed(partial(iterstrat, matrix, seed))[0]] if seed < runs else []
            times.append(timed(partial(ours, images, seed))[0])
        ratio = statistics.median(peers) / statistics.median(times)
        note = "" if runs == RUNS else f" ({runs} run of the peer)"
        figures.show(
            f"stratify {n:,} x 80: times faster than iterative-stratification{note}", ratio, "x", goal=(">=", goal)
        )
    sets = [
        long_tailed(100_000),
        uniform(20_000),
        correlated(20_000),
        beside_rarer(20_000),
        one_everywhere(20_000),
        many_rare(),
    ]
    for labels in sets:
        worse = []
        for seed in range(3):
            peer = deviation(labels, iterstrat(labels.matrix(), seed))
            worse.append(float((deviation(labels, ours(labels.images(), seed)) - peer).max()))
        figures.show(
            f"{labels.name}: images that a class is worse than the peer's, at most", max(worse), "", goal=("<=", 1)
        )


def grouping(figures: Figures) -> None:
    """Whole groups against StratifiedGroupKFold with ten folds, of which eight train."""
    for n in (10_000, 100_000):
        labels, groups = long_tailed(n), clips(n)
        images = labels.images(groups)
        rarest = np.zeros(n, dtype=np.int64)
        rarity = np.argsort(np.argsort(-np.bincount(labels.classes, minlength=labels.n_classes)))
        np.maximum.at(rarest, labels.image, rarity[labels.classes] + 1)

        def peer(seed: int, n: int = n, rarest: np.ndarray = rarest, groups: np.ndarray = groups) -> np.ndarray:
            part = np.zeros(n, dtype=np.int64)
            folds = StratifiedGroupKFold(10, shuffle=True, random_state=seed).split(np.zeros(n), rarest, groups)
            for index, (_, fold) in enumerate(folds):
                part[fold] = max(0, index - 7)
            return part

        peers = [timed(partial(peer, seed)) for seed in range(3)]
        times = [timed(partial(ours, images, seed)) for seed in range(RUNS)]
        theirs = statistics.median(fractions(labels, part) for _, part in peers)
        mine = statistics.median(fractions(labels, part) for _, part in times)
        if n == 100_000:
            ratio = statistics.median(seconds for seconds, _ in peers) / statistics.median(
                seconds for seconds, _ in times
            )
            figures.show(
                "groups of 100,000: times faster than StratifiedGroupKFold (3 runs of the peer)",
                ratio,
                "x",
                goal=(">=", 30),
            )
        figures.show(
            f"groups of {n:,}: largest deviation / the peer's",
            mine / theirs,
            "",
            goal=("<=", 0.5 if n == 100_000 else 1),
        )


def growing(figures: Figures) -> None:
    """Ten million images against one million, and bytes an image."""
    million = long_tailed(1_000_000)
    small = million.images()
    shift = np.arange(10)
    image = (shift[:, None] * million.n + million.image).ravel()
    large = LabelSet("tiled", 10 * million.n, million.n_classes, image, np.tile(million.classes, 10)).images()
    process = psutil.Process()
    before = process.memory_info().rss
    ours(large, 0)
    peak = _peak_rss() - before
    pairs = [(timed(lambda: ours(small, 0))[0], timed(lambda seed=seed: ours(large, seed))[0]) for seed in range(RUNS)]
    base, times = (statistics.median(column) for column in zip(*pairs, strict=True))
    figures.show("stratify 10,000,000 x 80: times the time of 1,000,000", times / base, "x", goal=("<=", 15))
    figures.show(
        "stratify 10,000,000 x 80: peak bytes an image beyond the input",
        peak / large.content.shape[0],
        "B",
        goal=("<=", 200),
    )


def _peak_rss() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell the peak memory")


def duplicates(figures: Figures) -> None:
    """Near-duplicates among 100,000 hashes, a tenth of them near another."""
    hashes = np.random.default_rng(0).integers(0, 2**63, 100_000, dtype=np.int64).astype(np.uint64)
    hashes[:10_000] = hashes[10_000:20_000] ^ np.uint64(0b101)
    links(hashes[:100])
    seconds = statistics.median(timed(lambda: links(hashes))[0] for _ in range(RUNS))
    figures.show("near-duplicates among 100,000 hashes: seconds", seconds, "s", goal=("<=", 10))


def main() -> int:
    """Prints all figures; 1 when a goal is missed."""
    warnings.filterwarnings(
        "ignore", category=UserWarning
    )  # scikit-learn warns of classes with fewer images than folds
    figures = Figures()
    ours(long_tailed(200).images(clips(200)), 0)  # compiles
    stratifying(figures)
    grouping(figures)
    growing(figures)
    duplicates(figures)
    stored(figures)
    return figures.exit_code()


if __name__ == "__main__":
    sys.exit(main())
