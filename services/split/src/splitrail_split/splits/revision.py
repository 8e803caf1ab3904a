"""From the columns of a version to a split revision: pure, seconds for a million images."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from splitrail_common.annotations import LabelState

from splitrail_split.domain import arrays, digest
from splitrail_split.domain.parts import PARTS
from splitrail_split.splits.algorithm import groups, stratify
from splitrail_split.splits.balance import measure
from splitrail_split.splits.certificate import Placement, certificate
from splitrail_split.splits.domain import MadeRevision, Method, SplitParameters
from splitrail_split.splits.leaks import find_leaks
from splitrail_split.versions.near import Links


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
    """The split vector (N,). Images that have not been annotated are in no part (0)."""
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
        vector[looked_at] = stratify.folds(
            images, count=count, index=index, test_ratio=parameters.ratios[2], seed=parameters.seed, mode=mode
        )
    else:
        fixed = None if inputs.fixed is None else groups.follow(units, inputs.fixed)[0][looked_at]
        vector[looked_at] = stratify.assign(
            images, ratios=parameters.ratios, seed=parameters.seed, mode=mode, fixed=fixed
        )
    return vector


def make_revision(
    inputs: Inputs, parameters: SplitParameters, vector: npt.NDArray[np.uint8] | None = None
) -> MadeRevision:
    """Assigns (or takes the given vector), certifies and digests."""
    if vector is None:
        vector = assign(inputs, parameters)
    labels, names = inputs.labels, inputs.class_names
    # Digests take a third of the time, sorting and hashing without the interpreter's lock: beside the rest, on threads.
    with ThreadPoolExecutor(len(PARTS)) as pool:
        digests = [pool.submit(_part_digest, inputs, vector == number) for number in PARTS.values()]
        keys = stratify.seeded_keys(inputs.content.astype(np.uint8, copy=False), parameters.seed)
        balance = measure(
            vector,
            labels.indptr,
            labels.class_ids,
            n_classes=len(names),
            ratios=parameters.ratios,
            class_names=names,
            keys=keys,
        )
        leaks = find_leaks(vector, inputs.content, inputs.links, inputs.next_frame)
        placement = Placement(
            vector, inputs.label_state, groups.join(len(vector), inputs.groups), inputs.fixed, inputs.findings
        )
        certified = certificate(balance, names, parameters.ratios, leaks, placement)
        train, val, test = (one.result() for one in digests)
    return MadeRevision(
        parameters=parameters,
        algorithm_version=str(stratify.ALGORITHM_VERSION),
        vector=vector,
        digest=digest.revision_digest(train, val, test, names),
        part_digests=(train, val, test),
        certificate=certified,
    )


def _part_digest(inputs: Inputs, mask: npt.NDArray[np.bool_]) -> str:
    return digest.part_digest(
        inputs.content[mask].astype(np.uint8, copy=False), inputs.annotation[mask].astype(np.uint8, copy=False)
    )
