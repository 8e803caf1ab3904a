"""From the columns of a version to a split revision: pure, seconds for a million images."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from splitrail_common import ids
from splitrail_common.annotations import LabelState
from splitrail_common.text import counted

from splitrail_split.datasets import convert
from splitrail_split.domain import arrays, digest
from splitrail_split.domain.datasets import PARTS, Method, SplitParameters
from splitrail_split.splits.algorithm import groups, stratify
from splitrail_split.splits.certificate import certify
from splitrail_split.splits.leaks import Leaks, find_leaks
from splitrail_split.splits.store import NewRevision
from splitrail_split.versions.near import Links

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a revision is made from; all arrays run over the N ordinals of a version."""

    content: arrays.Array
    annotation: arrays.Array
    label_state: arrays.Array
    labels: arrays.Labels
    class_names: Sequence[str]
    links: Links
    next_frame: arrays.Array
    groups: Sequence[npt.NDArray[np.int64]] = ()
    fixed: npt.NDArray[np.uint8] | None = None
    """1 + part of the images whose part is given; 0 for the others."""
    findings: Sequence[str] = field(default_factory=tuple)
    """What collecting all this has shown, in words."""


def assign(inputs: Inputs, parameters: SplitParameters) -> npt.NDArray[np.uint8]:
    """The split vector (N,). Images that nobody has labelled are in no part (0)."""
    looked_at = np.flatnonzero(inputs.label_state != LabelState.UNLABELLED)
    # Of all images, since those in no part too tell what belongs together, and where.
    units = groups.join(len(inputs.content), inputs.groups)
    # Unlabelled images hold no objects, so leaving them out leaves class_ids as they are.
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.diff(inputs.labels.indptr)[looked_at])])
    images = stratify.Images(
        inputs.content[looked_at].astype(np.uint8, copy=False),
        indptr,
        inputs.labels.class_ids,
        len(inputs.class_names),
        [units[looked_at]] if inputs.groups else [],
    )
    vector = np.zeros(len(inputs.content), dtype=np.uint8)
    mode: stratify.Mode = {Method.RANDOM: "random", Method.HASH: "hash"}.get(parameters.method, "stratified")  # type: ignore[assignment]  # of the literals
    if parameters.folds is not None:
        count, index = parameters.folds.count, parameters.folds.index
        vector[looked_at] = stratify.folds(images, count=count, index=index, test_ratio=parameters.ratios[2], seed=parameters.seed, mode=mode)
    else:
        fixed = None if inputs.fixed is None else groups.follow(units, inputs.fixed)[0][looked_at]
        vector[looked_at] = stratify.assign(images, ratios=parameters.ratios, seed=parameters.seed, mode=mode, fixed=fixed)
    return vector


def make_revision(inputs: Inputs, parameters: SplitParameters, request_id: str = "", vector: npt.NDArray[np.uint8] | None = None) -> NewRevision:
    """Assigns (or takes the vector that is given), judges and digests."""
    if vector is None:
        vector = assign(inputs, parameters)
    labels, names = inputs.labels, inputs.class_names
    # Digests take a third of the time, sorting and hashing without the interpreter's lock: beside the rest, on threads.
    with ThreadPoolExecutor(len(PARTS)) as pool:
        digests = [pool.submit(_part_digest, inputs, vector == number) for number in PARTS.values()]
        keys = stratify.seeded_keys(inputs.content.astype(np.uint8, copy=False), parameters.seed)
        made = certify(vector, labels.indptr, labels.class_ids, n_classes=len(names), ratios=parameters.ratios, class_names=names, keys=keys)
        leaks = find_leaks(vector, inputs.content, inputs.links, inputs.next_frame)
        kept = 0 if inputs.fixed is None else int(np.count_nonzero(inputs.fixed[vector > 0]))
        units = groups.join(len(vector), inputs.groups)
        grouped, parted = parted_units(units, vector)
        train, val, test = (one.result() for one in digests)
    certificate = convert.certificate(made, names, parameters.ratios, leaks)
    certificate.group_count, certificate.parted_groups, certificate.kept_images = grouped, len(parted), kept
    certificate.findings.extend([*made.unmet, *_findings(inputs, units, parted, leaks, vector)])
    return NewRevision(
        split_id=ids.new_id(),
        parameters=parameters,
        algorithm_version=str(stratify.ALGORITHM_VERSION),
        vector=arrays.encode_vector(vector),
        digest=digest.revision_digest(train, val, test, names),
        part_digests=[train, val, test],
        certificate=certificate.SerializeToString(deterministic=True),
        request_id=request_id,
    )


def _part_digest(inputs: Inputs, mask: npt.NDArray[np.bool_]) -> str:
    return digest.part_digest(inputs.content[mask].astype(np.uint8, copy=False), inputs.annotation[mask].astype(np.uint8, copy=False))


def parted_units(units: npt.NDArray[np.int64], vector: npt.NDArray[np.uint8]) -> tuple[int, npt.NDArray[np.int64]]:
    """How many units have two images or more in parts, and those of them that lie in several parts."""
    placed = vector > 0
    n = int(units.max(initial=-1)) + 1
    images = np.bincount(units[placed], minlength=n)
    low, high = np.full(n, 255, dtype=np.uint8), np.zeros(n, dtype=np.uint8)
    np.minimum.at(low, units[placed], vector[placed])
    np.maximum.at(high, units[placed], vector[placed])
    return int(np.count_nonzero(images > 1)), np.flatnonzero((images > 1) & (low != high))


def _findings(inputs: Inputs, units: npt.NDArray[np.int64], parted: npt.NDArray[np.int64], leaks: Leaks, vector: npt.NDArray[np.uint8]) -> list[str]:
    """What could not be reconciled, and what a reader of the certificate should know, in words."""
    found = list(inputs.findings)
    if unlabelled := int(np.count_nonzero(inputs.label_state == LabelState.UNLABELLED)):
        found.append(f"in no part of the split, for nobody has labelled them: {counted(unlabelled, 'image')}")
    if inputs.fixed is not None and (lost := int(np.count_nonzero((inputs.fixed > 0) & (vector == 0)))):
        found.append(f"of these, with a part by the base or a pin that they will not have again: {counted(lost, 'image')}")
    for unit in parted[:_NAMED]:
        ordinals = np.flatnonzero(units == unit)
        found.append(f"a group of {len(ordinals)} images (ordinal {ordinals[0]} among them) is in several parts, for its fixed images are")
    if len(parted) > _NAMED:
        found.append(f"in several parts too: {counted(len(parted) - _NAMED, 'group')} more")
    sizes = np.bincount(vector, minlength=4)[1:]
    smallest = min((int(size) for size in sizes if size), default=0)
    if leaks.largest_cluster > smallest:
        found.append(
            f"a cluster of near-duplicates holds {leaks.largest_cluster} images, more than the smallest part ({smallest}): single links chain"
            " what need not be alike, so look at it before grouping by near-duplicates"
        )
    if leaks.duplicate_pairs:
        found.append(f"in different parts, for they were fixed there: {counted(leaks.duplicate_pairs, 'pair')} of equal images")
    return found
