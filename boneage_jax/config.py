"""What an experiment is: every setting with its type, range and meaning, and the door that checks them.

Configs are `ml_collections.ConfigDict`s, written in `configs/*.py` and overridden on the command line. They are
validated once, by `validate`, into the frozen dataclasses below; everything behind the door reads only those.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import ml_collections

from boneage_jax import anatomy
from boneage_jax.errors import UserError
from boneage_jax.files import is_address
from boneage_jax.settings import checked, flatten, keys_of, setting


@dataclasses.dataclass(frozen=True)
class Duration:
    """A length of training in exactly one unit: `2000 steps`, `50 epochs`, `1e6 examples`, or `10%` of the run.

    Attributes:
      amount: positive number of units.
      unit: `steps`, `epochs`, `examples` or `%`.
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Parses `<number> <unit>`. Raises ValueError for anything else."""
        match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*(steps?|epochs?|examples?|%)\s*", text)
        if not match or not float(match[1]) > 0:
            raise ValueError("a positive number and one of steps, epochs, examples or %, as in '50 epochs'")
        unit = match[2] if match[2] == "%" else match[2].rstrip("s") + "s"
        return cls(float(match[1]), unit)

    def in_steps(self, *, batch_size: int, examples_per_epoch: int, total_steps: int | None = None) -> int:
        """Returns the duration in steps, rounded up, at least 1.

        Args:
          batch_size: global batch size, in images.
          examples_per_epoch: number of images in the training split.
          total_steps: length of the run, needed for percentages.

        Raises:
          ValueError: for a percentage where `total_steps` is not given.
        """
        if self.unit == "%":
            if total_steps is None:
                raise ValueError("the length of a run cannot be a percentage of itself")
            steps = self.amount / 100 * total_steps
        else:
            per_unit = {"steps": 1, "epochs": examples_per_epoch / batch_size, "examples": 1 / batch_size}
            steps = self.amount * per_unit[self.unit]
        return max(1, math.ceil(steps - 1e-9))


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, from where, at what size."""

    dir: str = setting("data", "folder that holds the built TFDS datasets")
    name: str = setting("hand_phantom/tiny", "dataset/config inside `dir`")
    fresh: str = setting(
        "", "train on phantoms rendered as they are needed, VIEW@HEIGHTxWIDTH; '' for the dataset's `train_split`"
    )
    fresh_ages: Literal["rsna", "even"] = setting(
        "rsna", "fresh: ages and sexes as in RSNA's training set, or evenly from birth to adulthood"
    )
    fresh_rater_sd: float = setting(
        7.0, "fresh: standard deviation of the readings that are learnt, in months; 0 for the truth", low=0.0
    )
    echoes: int = setting(
        1, "times each example is used before others are read, for those that take longer to make than to learn", low=1
    )
    train_split: str = setting("train", "split that is trained on")
    eval_split: str = setting("validation", "split that chooses the best checkpoint")
    folds: int = setting(
        0, "parts that `train_split` is dealt into for cross-validation, and evaluated on; 0 for none", low=0
    )
    fold: int = setting(0, "part that is left out of training, from 0", low=0)
    patients: str = setting(
        "", "CSV of id and patient, whose images are dealt together; '' where each image is another child's"
    )
    height: int = setting(160, "input height in pixels", low=16)
    width: int = setting(120, "input width in pixels", low=16)
    frame: Literal["image", "looks", "upright", "masked", "hand", "canvas"] = setting(
        "image",
        "how an image is laid into the input: whole; by turns in the two ways of a network that looks twice (masks: "
        "whole, cut to the hand's box; key points: cut to the box, on the canvas; background and all); upright: whole, "
        "and the hand stood upright, by turns, for masks; masked; masked and cut to the box; masked and on the canvas",
    )
    contrast: Literal["as is", "local"] = setting(
        "as is", "grey levels with background: as they are, or equalised locally, and bone bright where a mask is known"
    )
    feature: str = setting("image", "image feature of the dataset that is read; several joined by + are seen together")
    regions: str = setting(
        "", "regions cut from an image that shows the whole canvas: A, B, C, several joined by +; '' for it whole"
    )
    sex: Literal["all", "male", "female"] = setting("all", "children that are read, in training and evaluation")
    masks: str = setting("", "masks by id (folder or annotation file) in place of the dataset's own; '' for these")
    emphasis: str = setting(
        "", "masks (folder or annotation file) of images that come as often in training as all others; '' for none"
    )
    eval_masks: str = setting("", "the same for the evaluation split; '' for those of `masks`")
    key_points: str = setting("", "annotation file of key points by id in place of the dataset's own; '' for these")
    threads: int = setting(4, "host threads that read and decode", low=1)
    prefetch: int = setting(8, "batches read ahead on the host", low=1)

    @property
    def pictures(self) -> int:
        """How many pictures of one child are seen together."""
        return len(self.feature.split("+")) * len(self.regions.split("+"))


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which network."""

    name: Literal["vgg", "resnet", "unet"] = setting("vgg", "architecture")
    widths: tuple[int, ...] = setting(
        (16, 32, 48, 64, 96), "channels of each block (vgg), stage (resnet: four of them) or level (unet)", low=1
    )
    depth: int = setting(
        50, "resnet: layers; 10, 18, 34 plain, others with bottlenecks", choices=(10, 18, 26, 34, 50, 101, 152)
    )
    patch: int = setting(1, "unet: side of the patches of pixels that are its first channels", choices=(1, 2, 4))
    weights: str = setting("", "resnet: file of torchvision's or timm's weights that training starts from; '' for none")
    second_kernel: int = setting(1, "kernel of a block's second convolution: 1 (paper) or 3 (variant)", choices=(1, 3))
    pool: int = setting(3, "window of the max pooling of stride 2: 3 (paper) or 2 (variant)", choices=(2, 3))
    dense: tuple[int, ...] = setting((128,), "units of each hidden dense layer", low=1, may_be_empty=True)
    dropout: float = setting(0.3, "probability of dropping a unit before each hidden dense layer", low=0.0, high=0.95)
    head: Literal["regression", "points", "mask", "heatmap"] = setting(
        "regression", "what the last layer says: an age or points (vgg, resnet), a mask or heat maps (unet)"
    )
    sex: Literal["none", "input"] = setting("input", "whether the network is told the sex")
    dtype: Literal["float32", "bfloat16"] = setting("float32", "type of computation; parameters stay float32")
    kernels: Literal["auto", "plain", "cpu"] = setting(
        "auto", "form of convolution and pooling gradients: `cpu` is faster on CPUs and equal in value"
    )


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What is learnt."""

    name: Literal["bone_age", "segmentation", "landmarks"] = setting("bone_age", "task")
    age: Literal["regression", "classification", "distribution"] = setting(
        "regression",
        "bone_age: one number (paper); 240 classes and their expectation (paper); the same, taught soft labels",
    )
    label_sd: float = setting(6.0, "bone_age, distribution: width of the soft labels, in months", above=0.0)
    target_centre: float = setting(120.0, "months that the scaled target 0 stands for (PAPER: confirmed)")
    target_scale: float = setting(120.0, "months in one unit of the scaled target (PAPER: confirmed)", above=0.0)
    jaccard: float = setting(1.0, "segmentation: weight of log J beside the cross-entropy (paper: 1)", low=0.0)
    jaccard_form: Literal["mean", "ratio"] = setting(
        "mean", "segmentation: J as the mean of y p / (y + p - y p) over pixels (paper), or as the ratio of its sums"
    )
    points: Literal["heatmap", "regression"] = setting(
        "heatmap", "landmarks: heat maps with soft-argmax (unet), or six numbers (vgg, as in the paper)"
    )
    sigma: float = setting(1.5, "landmarks: width of the heat maps' target, in pixels of the map", above=0.0)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the training images, drawn on the device inside the compiled step."""

    shift: float = setting(0.05, "largest shift, as a fraction of height and width", low=0.0, high=1.0)
    zoom: float = setting(0.05, "largest relative change of size", low=0.0, high=0.9)
    rotation: float = setting(5.0, "largest rotation, in degrees", low=0.0, high=180.0)
    flip: float = setting(0.0, "probability of mirroring left to right", low=0.0, high=1.0)
    invert: float = setting(0.0, "probability of turning black and white round", low=0.0, high=1.0)
    gamma: float = setting(0.2, "largest change of gamma: exponents in [1 - gamma, 1 + gamma]", low=0.0, high=0.9)
    contrast: float = setting(0.1, "largest relative change of contrast about the image's mean", low=0.0, high=0.9)
    blur: float = setting(
        0.0, "largest standard deviation of a blur, in pixels; half of the images stay sharp", low=0.0, high=16.0
    )
    grain: float = setting(0.0, "largest standard deviation of noise", low=0.0, high=1.0)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How the weights move."""

    name: Literal["adam", "adamw", "sgd", "lamb"] = setting("adam", "optimiser, from Optax")
    learning_rate: float = setting(1e-3, "peak learning rate", above=0.0)
    final_learning_rate: float = setting(1e-5, "learning rate at the end of the schedule", low=0.0)
    schedule: Literal["constant", "linear", "cosine", "exponential"] = setting("cosine", "decay after the warm-up")
    warmup: str = setting("5%", "duration of the linear warm-up from 0, or '' for none")
    beta1: float = setting(0.9, "momentum (of SGD too)", low=0.0, high=0.9999)
    beta2: float = setting(0.999, "decay of the second moment", low=0.0, high=0.99999)
    weight_decay: float = setting(0.0, "decoupled weight decay of kernels (adamw, lamb)", low=0.0)
    clip_norm: float = setting(1.0, "largest global norm of the gradient; 0 for no limit", low=0.0)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, how large, from which seed."""

    length: str = setting("12 epochs", "duration of the run in steps, epochs or examples")
    batch_size: int = setting(32, "global batch size, in images", low=1)
    accumulation: int = setting(1, "parts a batch is computed in, one after the other, to save memory", low=1)
    seed: int = setting(0, "seed of weights, order, augmentation and dropout", low=0, high=2**31 - 1)
    start: str = setting(
        "",
        "run of the same network, whose weights training starts from: its folder, FILE:MEMBER of a bundle, or "
        "shipped:MEMBER of the one that is shipped; '' for random ones",
    )
    ema: float = setting(
        0.0, "decay of the moving average of the weights used in evaluation; 0 for none", low=0.0, high=0.99999
    )
    devices: int = setting(0, "devices to train on; 0 for all", low=0)
    transfer_guard: bool = setting(True, "refuse hidden copies between host and device in the loop")


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """How often the evaluation split is scored during training."""

    every: str = setting("1 epochs", "duration between evaluations")
    batch_size: int = setting(64, "global batch size of evaluation", low=1)


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """What is kept of a run."""

    every: str = setting("1 epochs", "duration between checkpoints")
    keep_last: int = setting(2, "newest checkpoints kept", low=1)
    keep_best: int = setting(1, "checkpoints of best evaluation score kept", low=1)


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """What is written down while training."""

    every: str = setting("10 steps", "duration between lines of metrics.jsonl and TensorBoard")
    tensorboard: bool = setting(True, "write TensorBoard event files")


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """One experiment, whole."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)


PATHS = frozenset(
    {
        "data.dir",
        "data.patients",
        "data.masks",
        "data.emphasis",
        "data.eval_masks",
        "data.key_points",
        "model.weights",
        "train.start",
    }
)
"""Keys that name files and folders of the machine that a run is trained on."""

MAY_DIFFER_ON_RESUME = (PATHS - {"model.weights", "train.start"}) | {
    "data.threads",
    "data.prefetch",
    "model.kernels",
    "train.devices",
    "train.transfer_guard",
    "checkpoint.keep_last",
    "checkpoint.keep_best",
    "eval.batch_size",
    "log.every",
    "log.tensorboard",
}
"""Keys that change where and how fast a run goes, not what it computes: paths of what it starts from do."""


def default_config() -> ml_collections.ConfigDict:
    """Returns all settings at their defaults, as a config that files and flags may change but not extend."""
    return ml_collections.ConfigDict(to_dict(ExperimentConfig()))


def to_dict(config: ExperimentConfig) -> dict[str, dict[str, Any]]:
    """Returns the config as plain nested dictionaries."""
    return dataclasses.asdict(config)


def validate(config: ml_collections.ConfigDict | Mapping[str, Any], *, origin: str = "the config") -> ExperimentConfig:
    """Checks every key, type and value, and returns the frozen config.

    Args:
      config: nested dictionaries; missing keys take their defaults.
      origin: where the config came from, for the message.

    Raises:
      UserError: listing every unknown key (with the likeliest meant one), wrong type and impossible value.
    """
    nested = config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config)
    problems: list[str] = []
    validated = checked(ExperimentConfig, nested, problems)
    if validated is not None:
        _check_together(validated, problems)
    if problems or validated is None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise UserError(f"{origin} cannot be used ({len(problems)}):\n{lines}")
    return validated


def all_keys() -> list[str]:
    """Returns every dotted key of a config, in order."""
    return keys_of(ExperimentConfig)


def _check_together(config: ExperimentConfig, problems: list[str]) -> None:
    """Checks what no single value can say: durations, divisibility, the size left after pooling."""
    durations = {
        "train.length": config.train.length,
        "optimizer.warmup": config.optimizer.warmup,
        "eval.every": config.eval.every,
        "checkpoint.every": config.checkpoint.every,
        "log.every": config.log.every,
    }
    for key, text in durations.items():
        if key == "optimizer.warmup" and not text:
            continue
        try:
            unit = Duration.parse(text).unit
        except ValueError as error:
            problems.append(f"{key}: found {text!r}, expected {error}")
            continue
        if key == "train.length" and unit == "%":
            problems.append(f"{key}: found {text!r}, expected steps, epochs or examples")
    if config.train.batch_size % config.train.accumulation:
        problems.append(
            f"train.accumulation: found {config.train.accumulation}, expected a divisor of train.batch_size "
            f"({config.train.batch_size})"
        )
    flat = flatten(to_dict(config))
    problems += [
        f"{key}: found {flat[key]!r}, an address, expected a path of this machine's file system; mount the bucket"
        for key in sorted(PATHS)
        if is_address(flat[key])
    ]
    if config.optimizer.final_learning_rate > config.optimizer.learning_rate:
        problems.append(
            f"optimizer.final_learning_rate: found {config.optimizer.final_learning_rate}, expected at most "
            f"optimizer.learning_rate ({config.optimizer.learning_rate})"
        )
    if config.optimizer.schedule == "exponential" and config.optimizer.final_learning_rate == 0:
        problems.append("optimizer.final_learning_rate: found 0, expected more than 0 for an exponential schedule")
    if config.data.folds and not (config.data.folds > 1 and config.data.fold < config.data.folds):
        problems.append(
            f"data.fold: found {config.data.fold} of data.folds {config.data.folds}, expected at least 2 folds, and "
            "one below their number"
        )
    if config.task.name == "bone_age" and config.data.frame == "canvas" and not config.data.regions:
        problems.append("data.regions: found '', expected regions of the canvas, as in A or A+B+C, for its ages")
    frames = _FRAMES.get(config.task.name, ())
    if frames and config.data.frame not in frames:
        problems.append(
            f"data.frame: found {config.data.frame!r}, expected {', '.join(map(repr, frames))} for the task "
            f"{config.task.name!r}"
        )
    _check_network(config, problems)


_FRAMES = {"segmentation": ("image", "looks", "upright"), "landmarks": ("looks", "masked", "hand")}
"""Frames by task that the hand pipeline can lay a picture in: masks are not known before the network has spoken, nor
are key points."""

_FITTING = {
    ("bone_age", "heatmap"): (("vgg", "resnet"), "regression"),
    ("bone_age", "regression"): (("vgg", "resnet"), "regression"),
    ("segmentation", "heatmap"): (("unet",), "mask"),
    ("segmentation", "regression"): (("unet",), "mask"),
    ("landmarks", "heatmap"): (("unet",), "heatmap"),
    ("landmarks", "regression"): (("vgg", "resnet"), "points"),
}
"""Networks and head by task and `task.points`."""


def _check_network(config: ExperimentConfig, problems: list[str]) -> None:
    """Checks that the network fits the task and the size of its input."""
    if config.data.fresh and Duration.parse(config.train.length).unit == "epochs":
        problems.append(
            f"train.length: found {config.train.length!r}, expected steps or examples where data.fresh has no end"
        )
    known = [region.name for region in anatomy.CANVAS_REGIONS]
    if config.data.regions and not set(config.data.regions.split("+")) <= set(known):
        problems.append(f"data.regions: found {config.data.regions!r}, expected of {', '.join(known)}, joined by +")
    if config.task.name != "bone_age" and config.data.pictures > 1:
        problems.append(
            f"data.feature, data.regions: found {config.data.pictures} pictures, expected one for this task"
        )
    names, head = _FITTING[config.task.name, config.task.points]
    for key, found, expected in (("model.name", config.model.name, names), ("model.head", config.model.head, (head,))):
        if found not in expected:
            problems.append(
                f"{key}: found {found!r}, expected {' or '.join(map(repr, expected))} for the task {config.task.name!r}"
            )
    height, width = config.data.height, config.data.width
    if config.model.weights and config.model.name != "resnet":
        problems.append(f"model.weights: found {config.model.weights!r}, expected '' for a {config.model.name}")
    if config.model.weights and config.train.start:
        problems.append(f"model.weights: found {config.model.weights!r}, expected '' where train.start names a run")
    if config.model.name == "unet":
        unit = config.model.patch * 2 ** (len(config.model.widths) - 1)
        if height % unit or width % unit:
            problems.append(
                f"data.height x data.width: found {height} x {width}, expected multiples of {unit} for a U-Net of "
                f"{len(config.model.widths)} levels on patches of {config.model.patch}"
            )
        return
    if config.model.name == "resnet":
        if len(config.model.widths) != 4:
            problems.append(
                f"model.widths: found {len(config.model.widths)} widths, expected four for a resnet, one a stage"
            )
        return
    for _ in config.model.widths:
        height, width = (height - config.model.pool) // 2 + 1, (width - config.model.pool) // 2 + 1
    if height < 1 or width < 1:
        problems.append(
            f"model.widths: {len(config.model.widths)} blocks leave nothing of an image of {config.data.height} x "
            f"{config.data.width} (data.height x data.width); use fewer blocks or larger images"
        )
