"""Drafts and differences as protos."""

from collections.abc import Sequence

from splitrail.split.v1 import dataset_pb2, version_pb2

from splitrail_split.contents.convert import timestamp
from splitrail_split.datasets import convert
from splitrail_split.domain.datasets import Asset
from splitrail_split.versions.classes import DraftClasses
from splitrail_split.versions.differences import AssetDifference, ClassDifference, Counts
from splitrail_split.versions.drafts import Draft


def draft(found: Draft) -> version_pb2.Draft:
    """A draft with its classes."""
    return version_pb2.Draft(
        version=convert.version(found.as_version()),
        classes=draft_classes(found.classes),
        create_time=timestamp(found.create_time),
    )


def draft_classes(classes: DraftClasses) -> list[version_pb2.DraftClass]:
    """Classes by position."""
    return [
        version_pb2.DraftClass(
            class_id=class_id, name=name, merged_into_class_id=None if target == position else classes.ids[target]
        )
        for position, (class_id, name, target) in enumerate(
            zip(classes.ids, classes.names, classes.targets, strict=True)
        )
    ]


def counts(found: Counts) -> version_pb2.DifferenceCounts:
    """In how many images versions differ."""
    return version_pb2.DifferenceCounts(
        added=found.added,
        removed=found.removed,
        changed=found.changed,
        fields=[
            version_pb2.FieldCount(field=version_pb2.AssetField.Value(f"ASSET_FIELD_{field.name}"), images=images)
            for field, images in found.fields.items()
        ],
    )


def class_differences(found: Sequence[ClassDifference]) -> list[version_pb2.ClassDifference]:
    """Classes that differ."""
    return [
        version_pb2.ClassDifference(
            kind=version_pb2.DifferenceKind.Value(f"DIFFERENCE_KIND_{one.kind.name}"),
            class_id=one.class_id,
            name=one.name or "",
            other_name=one.other_name or "",
        )
        for one in found
    ]


def asset_difference(found: AssetDifference) -> version_pb2.AssetDifference:
    """An image that differs."""

    def shown(asset: Asset | None) -> dataset_pb2.Asset | None:
        return convert.asset(asset, 0, "") if asset else None

    return version_pb2.AssetDifference(
        kind=version_pb2.DifferenceKind.Value(f"DIFFERENCE_KIND_{found.kind.name}"),
        asset=shown(found.asset),
        other=shown(found.other),
        fields=[version_pb2.AssetField.Value(f"ASSET_FIELD_{field.name}") for field in found.fields],
    )
