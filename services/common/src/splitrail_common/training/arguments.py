"""The table of arguments, for the pinned Ultralytics version: one line each. The trainer service and its pod read it;
it imports no torch.

Names, types and defaults are Ultralytics'; the ranges are ours, for it checks hardly any. A test compares this file
with Ultralytics' own default.yaml: whatever appears there must stand here, as a hyperparameter or among the refused
with the reason.
"""

from dataclasses import dataclass
from enum import Enum

ULTRALYTICS_VERSION = "8.4.190"


class Group(Enum):
    """Where a form puts an argument, in its order."""

    CORE = 1
    OPTIMIZER = 2
    LOSS = 3
    AUGMENTATION = 4
    VALIDATION = 5


CORE, OPTIMIZER, LOSS, AUGMENTATION, VALIDATION = Group


class ValueType(Enum):
    """What a hyperparameter's value is."""

    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ENUM = "enum"


Value = bool | int | float | str


@dataclass(frozen=True)
class Hyperparameter:
    """One argument that may be set."""

    name: str
    group: Group
    type: ValueType
    default: Value
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    multiple_of: int = 0


def _int(name: str, group: Group, default: int, low: int, high: int, text: str, multiple_of: int = 0) -> Hyperparameter:  # noqa: PLR0917 - a table's columns
    return Hyperparameter(name, group, ValueType.INTEGER, default, text, low, high, multiple_of=multiple_of)


def _num(name: str, group: Group, default: float, low: float, high: float, text: str) -> Hyperparameter:  # noqa: PLR0917 - a table's columns
    return Hyperparameter(name, group, ValueType.NUMBER, default, text, low, high)


def _bool(name: str, group: Group, default: bool, text: str) -> Hyperparameter:
    return Hyperparameter(name, group, ValueType.BOOLEAN, default, text)


def _enum(name: str, group: Group, default: str, choices: tuple[str, ...], text: str) -> Hyperparameter:
    return Hyperparameter(name, group, ValueType.ENUM, default, text, choices=choices)


_OPTIMIZERS = ("auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp")

TRAINING: tuple[Hyperparameter, ...] = (
    _int("epochs", CORE, 100, 1, 1000, "Passes over the training images."),
    _int("patience", CORE, 100, 0, 1000, "Stop after this many epochs without a better val fitness; 0: never."),
    _int("batch", CORE, 16, 1, 256, "Images in a batch."),
    _int("imgsz", CORE, 640, 32, 1280, "Side of the square that images are scaled to, in pixels.", multiple_of=32),
    _int("seed", CORE, 0, 0, 2**31 - 1, "Seed of everything random."),
    _bool("deterministic", CORE, True, "Use deterministic algorithms only: reproducible, may be slower."),
    _num("fraction", CORE, 1.0, 0.001, 1, "Fraction of the training images to use."),
    _bool("rect", CORE, False, "Batches of images of similar shape with little padding; turns shuffling off."),
    _num("multi_scale", CORE, 0.0, 0, 0.5, "Vary the image size from batch to batch by this fraction of imgsz."),
    _int("freeze", CORE, 0, 0, 24, "Freeze the first layers of the model, this many."),
    _enum(
        "amp",
        CORE,
        "fp16",
        ("fp16", "bf16", "fp32"),
        "Precision of the training; fp16 and bf16 are mixed precision, on accelerators.",
    ),
    _enum(
        "optimizer",
        OPTIMIZER,
        "auto",
        _OPTIMIZERS,
        "Optimizer; auto chooses it, lr0 and momentum by the number of iterations.",
    ),
    _num("lr0", OPTIMIZER, 0.01, 1e-6, 0.1, "Initial learning rate; ignored with optimizer=auto."),
    _num("lrf", OPTIMIZER, 0.01, 0, 1, "Final learning rate as a fraction of lr0."),
    _num(
        "momentum",
        OPTIMIZER,
        0.937,
        0,
        0.999,
        "Momentum of SGD, or beta1 of the Adam family; ignored with optimizer=auto.",
    ),
    _num("weight_decay", OPTIMIZER, 0.0005, 0, 0.1, "Weight decay (L2)."),
    _num("warmup_epochs", OPTIMIZER, 3.0, 0, 20, "Epochs of warm-up; fractions are allowed."),
    _num("warmup_momentum", OPTIMIZER, 0.8, 0, 1, "Momentum at the start of the warm-up."),
    _num("warmup_bias_lr", OPTIMIZER, 0.1, 0, 0.2, "Learning rate of the biases at the start of the warm-up."),
    _bool("cos_lr", OPTIMIZER, False, "Let the learning rate fall along a cosine instead of a line."),
    _int("nbs", OPTIMIZER, 64, 1, 1024, "Nominal batch size: gradients accumulate over about nbs / batch batches."),
    _int(
        "close_mosaic",
        OPTIMIZER,
        10,
        0,
        1000,
        "Last epochs without mosaic, at most epochs; 0: mosaic to the end (the default below 10 epochs).",
    ),
    _num("box", LOSS, 7.5, 0, 50, "Weight of the box loss."),
    _num("cls", LOSS, 0.5, 0, 50, "Weight of the classification loss."),
    _num("dfl", LOSS, 1.5, 0, 50, "Weight of the distribution focal loss; of the L1 loss in YOLO26."),
    _num("cls_pw", LOSS, 0.0, 0, 1, "Power of the class weights against imbalance: 0 none, 1 inverse frequency."),
    _num("hsv_h", AUGMENTATION, 0.015, 0, 1, "Random change of hue, as a fraction."),
    _num("hsv_s", AUGMENTATION, 0.7, 0, 1, "Random change of saturation, as a fraction."),
    _num("hsv_v", AUGMENTATION, 0.4, 0, 1, "Random change of brightness, as a fraction."),
    _num("degrees", AUGMENTATION, 0.0, 0, 180, "Random rotation by up to this many degrees either way."),
    _num("translate", AUGMENTATION, 0.1, 0, 1, "Random shift by up to this fraction of the image."),
    _num("scale", AUGMENTATION, 0.5, 0, 0.9, "Random scaling by up to this gain either way."),
    _num("shear", AUGMENTATION, 0.0, 0, 45, "Random shear by up to this many degrees either way."),
    _num("perspective", AUGMENTATION, 0.0, 0, 0.001, "Random perspective."),
    _num("flipud", AUGMENTATION, 0.0, 0, 1, "Probability of an upside-down flip."),
    _num("fliplr", AUGMENTATION, 0.5, 0, 1, "Probability of a left-right flip."),
    _num("bgr", AUGMENTATION, 0.0, 0, 1, "Probability of swapping red and blue."),
    _num("mosaic", AUGMENTATION, 1.0, 0, 1, "Probability of combining four images into one."),
    _num("mixup", AUGMENTATION, 0.0, 0, 1, "Probability of blending two images."),
    _num("cutmix", AUGMENTATION, 0.0, 0, 1, "Probability of pasting a part of one image into another."),
)

EVALUATION: tuple[Hyperparameter, ...] = (
    _int(
        "imgsz",
        VALIDATION,
        640,
        32,
        1280,
        "Side of the square that images are scaled to, in pixels; default: the run's.",
        multiple_of=32,
    ),
    _int("batch", VALIDATION, 16, 1, 256, "Images in a batch."),
    _num("conf", VALIDATION, 0.001, 0, 1, "Least confidence of a prediction that counts."),
    _num("iou", VALIDATION, 0.7, 0, 1, "Overlap from which non-maximum suppression drops a prediction."),
    _int("max_det", VALIDATION, 300, 1, 1000, "Most predictions for an image."),
)

TRAINING_NAMES = frozenset(item.name for item in TRAINING)
EVALUATION_NAMES = frozenset(item.name for item in EVALUATION)

_PLATFORM = "is set by the platform"
_PATH = "is set by the platform: a path, URL or name of a caller's could run code or reach other data"
_FILES = "is set by the platform, which stores every epoch's checkpoint, the metrics and the plots itself"
_SCRATCH = "is not offered: models start from random weights"
_HONEST = "is set by the platform: training validates on the pinned split's val part, never on test"
_EVALUATE = "belongs to an evaluation, not to a training"
_OTHER = "is not used in detection"
_PREDICT = "is for prediction, tracking or export, not for training"
_COMPILE = "is not offered: compiled and quantized training is not reproducible here"


def _because(reason: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


_PLATFORMS_OWN: dict[str, str] = {
    **_because(_PLATFORM, "task mode device workers exist_ok resume cache channels_last verbose profile"),
    **_because(_PATH, "model data cfg project name save_dir source tracker augmentations"),
    **_because(_FILES, "save save_period plots"),
    **_because(_SCRATCH, "pretrained cls_remap distill_model dis"),
    **_because(_HONEST, "val split"),
    **_because(_COMPILE, "compile quantize"),
}

REFUSED: dict[str, str] = {
    **_PLATFORMS_OWN,
    **_because("is not offered: it would rewrite the number of epochs while training; set epochs", "time"),
    **_because("is not offered: choose the classes in the dataset, whose digest covers them", "classes"),
    **_because(
        "is not offered: a model of one class without a name cannot be judged on the dataset; merge its classes there",
        "single_cls",
    ),
    **_because(_EVALUATE, "conf iou max_det"),
    **_because(
        _OTHER,
        "overlap_mask mask_ratio dropout pose kobj rle angle dlog dgrad dlam copy_paste copy_paste_mode auto_augment erasing",
    ),
    **_because(
        _PREDICT,
        "save_json dnn nms vid_stride stream_buffer visualize augment agnostic_nms retina_masks embed show save_frames save_txt",
    ),
    **_because(
        _PREDICT,
        "save_conf save_crop show_labels show_conf show_boxes line_width format optimize dynamic simplify opset workspace",
    ),
}
"""What callers may not set in a training, and why: names that Ultralytics knows and we own, or do not offer."""

SET_BY_PLATFORM = frozenset(_PLATFORMS_OWN)
"""The refused ones that every training is given all the same, by the platform: paths of the pod, and what its promises
rest on."""
