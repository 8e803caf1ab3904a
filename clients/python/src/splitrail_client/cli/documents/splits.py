"""Documents about splits: a revision with its certificate, comparisons, leaks."""

from splitrail.split.v1 import dataset_pb2, split_pb2, split_service_pb2

from ...references import method_name, split_name
from .words import Document, time_text


def part_name(value: dataset_pb2.Split.ValueType) -> str | None:
    """`train`, `val` or `test`; None for an image in no part, or not there."""
    return split_name(value) if value else None


def split(item: split_pb2.SplitRevision) -> Document:
    ratios, certificate = item.parameters.ratios, item.certificate
    return {
        "split_id": item.split_id,
        "reference": item.reference,
        "version_id": item.version_id,
        "dataset_id": item.dataset_id,
        "digest": item.digest,
        "part_digests": {"train": item.part_digests.train, "val": item.part_digests.val, "test": item.part_digests.test},
        "ratios": {"train": ratios.train, "val": ratios.val, "test": ratios.test},
        "seed": item.parameters.seed,
        "method": method_name(item.parameters.method),
        "group_by": [_group_by(rule) for rule in item.parameters.group_by],
        "base_split_id": item.parameters.base_split_id,
        "pins": [{"asset": str(getattr(pin, pin.WhichOneof("asset") or "path")), "split": split_name(pin.split)} for pin in item.parameters.pins],
        "folds": {"count": item.parameters.folds.count, "index": item.parameters.folds.index} if item.parameters.HasField("folds") else None,
        "algorithm_version": item.algorithm_version,
        "parts": [
            {
                "split": split_name(part.split),
                "images": part.images,
                "ideal_images": part.ideal_images,
                "objects": part.objects,
                "background_images": part.background_images,
            }
            for part in certificate.parts
        ],
        "classes": [
            {
                "class": balance.class_name,
                **{
                    split_name(part.split): {
                        "images": part.images,
                        "ideal_images": part.ideal_images,
                        "objects": part.objects,
                        "deviation": part.deviation,
                        "expected_half_width": part.expected_half_width,
                    }
                    for part in balance.parts
                },
            }
            for balance in certificate.classes
        ],
        "worst_class": certificate.worst_class,
        "max_deviation": certificate.max_deviation,
        "max_deviation_images": certificate.max_deviation_images,
        "random_max_deviation": certificate.random_max_deviation,
        "empty_cells": certificate.empty_cells,
        "random_empty_cells": certificate.random_empty_cells,
        "groups": certificate.group_count,
        "parted_groups": certificate.parted_groups,
        "kept_images": certificate.kept_images,
        "duplicate_pairs": certificate.duplicate_pairs,
        "near_duplicate_pairs": list(certificate.near_duplicate_pairs),
        "neighbour_frame_pairs": certificate.neighbour_frame_pairs,
        "frame_pairs": certificate.frame_pairs,
        "findings": list(certificate.findings),
        "create_time": time_text(item.create_time),
    }


def _group_by(rule: split_pb2.GroupBy) -> str:
    """As it is written for `--group-by`."""
    kind = rule.WhichOneof("by")
    names = {"metadata_key": "metadata", "filename_pattern": "name", "near_duplicate_distance": "near"}
    return "folder" if kind == "folder" else f"{names[kind or 'metadata_key']}:{getattr(rule, kind or 'metadata_key')}"


def comparison(found: split_service_pb2.CompareSplitsResponse) -> Document:
    return {
        "moves": [{"before": part_name(move.before), "now": part_name(move.now), "images": move.images} for move in found.moves],
        "assets": [
            {"path": one.asset.path, "sha256": one.asset.sha256, "before": part_name(one.before), "now": part_name(one.asset.split)}
            for one in found.assets
        ],
    }


def leak(item: split_service_pb2.Leak) -> Document:
    first, second = ({"path": one.path, "sha256": one.sha256, "split": part_name(one.split), "url": one.url} for one in (item.first, item.second))
    return {"distance": item.distance, "first": first, "second": second}
