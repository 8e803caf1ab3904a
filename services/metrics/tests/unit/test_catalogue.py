import math
import struct

from hypothesis import given
from hypothesis import strategies as st
from splitrail_metrics.catalogue import METRICS, describe, f1, normalize

DETECT = {
    "train/box_loss": 1.5,
    "train/cls_loss": 2.5,
    "train/dfl_loss": 0.5,
    "metrics/precision(B)": 0.8,
    "metrics/recall(B)": 0.4,
    "metrics/mAP50(B)": 0.6,
    "metrics/mAP50-95(B)": 0.3,
    "val/box_loss": 1.0,
    "val/cls_loss": 2.0,
    "val/dfl_loss": 0.25,
    "lr/pg0": 0.01,
    "lr/pg1": 0.02,
    "lr/pg2": 0.03,
    "fitness": 0.33,
    "epoch_seconds": 12.0,
}
TASKS = {
    "segment": (
        [
            "train/seg_loss",
            "train/sem_loss",
            *(f"metrics/{name}({head})" for head in "BM" for name in ("precision", "recall", "mAP50", "mAP50-95")),
        ],
        {
            "train_seg_loss",
            "train_sem_loss",
            "f1",
            "mask_mAP50",
            "mask_mAP50_95",
            "mask_precision",
            "mask_recall",
            "mask_f1",
        },
    ),
    "pose": (
        [
            "val/pose_loss",
            "val/kobj_loss",
            "val/rle_loss",
            "metrics/precision(P)",
            "metrics/recall(P)",
            "metrics/mAP50(P)",
            "metrics/mAP50-95(P)",
        ],
        {
            "val_pose_loss",
            "val_kobj_loss",
            "val_rle_loss",
            "pose_mAP50",
            "pose_mAP50_95",
            "pose_precision",
            "pose_recall",
            "pose_f1",
        },
    ),
    "obb": (["train/angle_loss", "train/l1_loss", "metrics/mAP50(B)"], {"train_angle_loss", "train_l1_loss", "mAP50"}),
    "classify": (
        ["train/loss", "val/loss", "metrics/accuracy_top1", "metrics/accuracy_top5"],
        {"train_loss", "val_loss", "top1", "top5"},
    ),
}
floats = st.floats(allow_nan=True, allow_infinity=True)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def test_detection_has_every_canonical_key() -> None:
    expected = {
        "train_box_loss", "train_cls_loss", "train_dfl_loss", "val_box_loss", "val_cls_loss", "val_dfl_loss", "precision", "recall", "mAP50",
        "mAP50_95", "f1", "lr", "lr_pg0", "lr_pg1", "lr_pg2", "fitness", "epoch_seconds",
    }  # fmt: skip
    found = normalize(DETECT)
    assert set(found) == expected
    assert found["lr"] == 0.01
    assert math.isclose(found["f1"], 2 * 0.8 * 0.4 / 1.2)


def test_other_tasks() -> None:
    for keys, expected in TASKS.values():
        assert expected <= set(normalize(dict.fromkeys(keys, 0.5)))


def test_new_losses_and_parameter_groups_are_named_by_their_form() -> None:
    assert set(normalize({"train/future_loss": 1.0, "lr/pg17": 0.1})) == {"train_future_loss", "lr_pg17"}


def test_what_is_not_known_stays_raw() -> None:
    assert normalize({"best_fitness": 1.0, "metrics/odd": 2.0, "train/a b": 3.0, "lr/pg01": 4.0, "gpu": 5.0}) == {}


def test_f1_at_its_edges() -> None:
    assert f1(0.0, 0.0) == 0.0
    assert f1(1.0, 1.0) == 1.0
    assert math.isnan(f1(math.nan, 0.5))


@given(
    st.dictionaries(st.sampled_from([*DETECT, *(key for keys, _ in TASKS.values() for key in keys), "unknown"]), floats)
)
def test_values_pass_bit_for_bit(raw: dict[str, float]) -> None:
    found = normalize(raw)
    for name, value in raw.items():
        descriptor = describe(name)
        if descriptor is not None:
            assert bits(found[descriptor.key]) == bits(value)
    if "lr/pg0" in raw:
        assert bits(found["lr"]) == bits(raw["lr/pg0"])


@given(st.lists(st.text(min_size=1, max_size=40), unique=True))
def test_no_two_keys_share_a_canonical_one(names: list[str]) -> None:
    names = list({*names, *DETECT})
    known = [descriptor.key for name in names if (descriptor := describe(name))]
    assert len(known) == len(set(known))


@given(st.floats(0, 1), st.floats(0, 1))
def test_f1_lies_between(precision: float, recall: float) -> None:
    assert min(precision, recall) - 1e-12 <= f1(precision, recall) <= max(precision, recall) + 1e-12


def test_schema_describes_what_normalize_makes() -> None:
    keys = [item.key for item in METRICS]
    assert len(keys) == len(set(keys))
    assert all(item.title and item.family for item in METRICS)
    for raw in (list(DETECT), *(names for names, _ in TASKS.values())):
        assert set(normalize(dict.fromkeys(raw, 0.5))) <= set(keys)
    families = {item.key: item.family for item in METRICS}
    assert families["train_box_loss"] == families["val_box_loss"]
    assert families["mask_f1"] == families["mask_recall"] != families["recall"]
