"""Stateless rules of requests about splits: each breach becomes INVALID_ARGUMENT that names the field."""

import math

from splitrail.split.v1 import split_pb2, split_service_pb2
from splitrail_common.errors import Violation, invalid

from splitrail_split.requests import fields
from splitrail_split.splits.algorithm.stratify import TOLERANCE, fold_ratios
from splitrail_split.splits.domain import Folds, GroupBy, GroupKind, Method, Pin, SplitParameters

LEAST_FOLDS = 2
"""Declared beside the field too, but a count that is not set is not judged there."""
METHODS = {
    split_pb2.SPLIT_METHOD_UNSPECIFIED: Method.STRATIFIED,
    split_pb2.SPLIT_METHOD_STRATIFIED: Method.STRATIFIED,
    split_pb2.SPLIT_METHOD_RANDOM: Method.RANDOM,
    split_pb2.SPLIT_METHOD_HASH: Method.HASH,
}


def split_parameters(parameters: split_pb2.SplitParameters) -> SplitParameters:
    """Ratios that add up to 1, and whatever else decides. With folds, train and val are what the number of
    folds makes of them.
    """
    if not parameters.HasField("ratios"):
        raise invalid(
            Violation("parameters.ratios", "is needed: fractions of train, val and test, for example 0.7, 0.15, 0.15")
        )
    given = parameters.ratios
    ratios = (given.train, given.val, given.test)
    total = math.fsum(ratios)
    if abs(total - 1) > TOLERANCE:
        raise invalid(Violation("parameters.ratios", f"must add up to 1, these add up to {total:g}"))
    if parameters.method not in METHODS:
        raise invalid(
            Violation("parameters.method", f"{split_pb2.SplitMethod.Name(parameters.method)} is not a way to split")
        )
    method = METHODS[parameters.method]
    group_by = tuple(_group_by(index, one) for index, one in enumerate(parameters.group_by))
    base_split_id = parameters.base_split_id
    pins = tuple(_pin(index, one) for index, one in enumerate(parameters.pins))
    folds = _folds(parameters.folds) if parameters.HasField("folds") else None
    if method is Method.HASH and group_by:
        raise invalid(
            Violation(
                "parameters.group_by",
                "the method hash places each image by itself: leave groups out, or use another method",
            )
        )
    if folds:
        if base_split_id or pins or method is Method.HASH:
            raise invalid(Violation("parameters.folds", "cannot be combined with a base, pins or the method hash"))
        ratios = fold_ratios(folds.count, ratios[2])
    return SplitParameters(ratios, parameters.seed, method, group_by, base_split_id, pins, folds)


def _group_by(index: int, given: split_pb2.GroupBy) -> GroupBy:
    where = f"parameters.group_by[{index}]"
    match given.WhichOneof("by"):
        case "metadata_key" if given.metadata_key:
            return GroupBy(GroupKind.METADATA, given.metadata_key)
        case "folder" if given.folder:
            return GroupBy(GroupKind.FOLDER)
        case "filename_pattern" if given.filename_pattern:
            return GroupBy(GroupKind.FILENAME, given.filename_pattern)
        case "near_duplicate_distance":
            return GroupBy(GroupKind.NEAR_DUPLICATES, given.near_duplicate_distance)
    raise invalid(Violation(where, "needs metadata_key, folder: true, filename_pattern or near_duplicate_distance"))


def _pin(index: int, given: split_pb2.Pin) -> Pin:
    where = f"parameters.pins[{index}]"
    by = given.WhichOneof("asset")
    value = str(getattr(given, by)) if by else ""
    if not by or not value:
        raise invalid(Violation(where, "needs one of sha256, external_id, path"))
    if by == "sha256" and not fields.SHA256.fullmatch(value):
        raise invalid(Violation(f"{where}.sha256", fields.NO_SHA256))
    return Pin(by, value, given.part)


def _folds(given: split_pb2.Folds) -> Folds:
    if given.count < LEAST_FOLDS:
        raise invalid(Violation("parameters.folds.count", f"must be at least {LEAST_FOLDS}"))
    if given.index >= given.count:
        raise invalid(Violation("parameters.folds.index", f"must be 0 to {given.count - 1}, not {given.index}"))
    return Folds(given.count, given.index)


def version_id(request: split_service_pb2.GetSplitRequest) -> str:
    """The version whose current revision is meant."""
    if not request.version_id:
        raise invalid(Violation("version_id", "or split_id is needed"))
    return request.version_id
