"""The settings of an experiment: each with its type, range and meaning.

Configs are `ml_collections.ConfigDict`s, written in `configs/*.py` and overridden on the command line.
`config.validate` checks them once and returns the frozen dataclasses below; all other code reads only those. What a
network or a task allows is declared with that network or task (`models.registry`, `tasks`), and checked there too.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from boneage_jax.settings import setting

InputLayout = Literal["image", "hand_box", "upright_box", "masked_image", "masked_hand_box", "masked_canvas", "canvas"]
"""How a radiograph is laid into a network's input; see `INPUT_LAYOUTS` and `data.input_layout`."""

Head = Literal["regression", "points", "mask", "heatmap"]
"""Kinds of a network's output: numbers for an age, numbers for points, a mask, heat maps."""

INPUT_LAYOUTS: dict[InputLayout, str] = {
    "image": "the whole image",
    "hand_box": "cut to the hand's box",
    "upright_box": "cut to the hand's box, turned so that the hand stands upright",
    "masked_image": "the whole image, background removed",
    "masked_hand_box": "cut to the hand's box, background removed",
    "masked_canvas": "registered on the canvas, background removed",
    "canvas": "registered on the canvas",
}
"""Each layout and its meaning."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The images: source, split, size, layout."""

    dir: str = setting("data", "folder that holds the built TFDS datasets")
    name: str = setting("hand_phantom/tiny", "dataset/config inside `data.dir`")
    fresh: str = setting(
        "", "train on phantoms rendered as they are needed, VIEW@HEIGHTxWIDTH; '' for the dataset's `train_split`"
    )
    fresh_ages: Literal["rsna", "even"] = setting(
        "rsna", "fresh: ages and sexes as in RSNA's training set, or evenly from birth to adulthood"
    )
    fresh_rater_sd: float = setting(
        7.0, "fresh: standard deviation of the readings that are learnt, in months; 0 for the truth", low=0.0
    )
    echo_factor: int = setting(
        1,
        "data echoing (Choi et al. 2019, arXiv 1907.05550): times each example is used before others are read, where "
        "reading takes longer than learning",
        low=1,
    )
    train_split: str = setting("train", "split that is trained on")
    mix: str = setting(
        "",
        "dataset/config inside `data.dir` whose split `train` is mixed into the training, as phantoms beside real "
        "hands; '' for none",
    )
    mix_share: float = setting(0.25, "mix: share of the training's examples that come from there", above=0.0, high=0.9)
    eval_split: str = setting("validation", "split that chooses the best checkpoint")
    folds: int = setting(0, "folds of `train_split` for cross-validation, which evaluation uses too; 0 for none", low=0)
    fold: int = setting(0, "fold that is left out of training and evaluated on, from 0", low=0)
    patients: str = setting(
        "", "CSV of id and patient: images of a patient stay in one fold; '' where each image is another child's"
    )
    height: int = setting(160, "input height in pixels", low=16)
    width: int = setting(120, "input width in pixels", low=16)
    input_layouts: tuple[InputLayout, ...] = setting(
        ("image",),
        "how an image is laid into the input, one layout for each stage from coarse to fine; a network of two stages "
        "learns both in alternation. " + "; ".join(f"{name}: {meaning}" for name, meaning in INPUT_LAYOUTS.items()),
    )
    contrast: Literal["as is", "local"] = setting(
        "as is", "grey levels with background: unchanged, or equalised locally, and bone bright where a mask is known"
    )
    feature: str = setting("image", "image feature of the dataset; several joined by + are seen together")
    regions: str = setting(
        "", "regions cut from an image that shows the whole canvas: A, B, C, several joined by +; '' for it whole"
    )
    sex: Literal["all", "male", "female"] = setting("all", "sex of the children, in training and evaluation")
    masks: str = setting("", "masks by id (folder or annotation file) in place of the dataset's own; '' for these")
    oversampled_masks: str = setting(
        "", "masks (folder or annotation file) of images that are drawn as often in training as all others; '' for none"
    )
    eval_masks: str = setting("", "the same for the evaluation split; '' for those of `masks`")
    key_points: str = setting("", "annotation file of key points by id in place of the dataset's own; '' for these")
    threads: int = setting(4, "host threads that read and decode", low=1)
    prefetch: int = setting(8, "batches read ahead on the host", low=1)

    @property
    def pictures(self) -> int:
        """Number of images of one child that a network sees together."""
        return len(self.feature.split("+")) * len(self.regions.split("+"))


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network."""

    name: str = setting("vgg", "architecture, by its name in `models.registry`")
    widths: tuple[int, ...] = setting(
        (16, 32, 48, 64, 96),
        "channels of each block, stage or level, by architecture",
        low=1,
    )
    depth: int = setting(50, "layers (resnet) or blocks (convnext), of those that the architecture has", low=1)
    patch: int = setting(1, "side of the patches of pixels that are a U-Net's first channels", choices=(1, 2, 4))
    weights: str = setting("", "file of PyTorch's weights that the backbones start from; '' for none")
    second_kernel: int = setting(1, "kernel of a block's second convolution: 1 (paper) or 3 (variant)", choices=(1, 3))
    pool: int = setting(3, "window of the max pooling of stride 2: 3 (paper) or 2 (variant)", choices=(2, 3))
    dense: tuple[int, ...] = setting((128,), "units of each hidden dense layer", low=1, may_be_empty=True)
    dropout: float = setting(0.3, "probability of dropping a unit before each hidden dense layer", low=0.0, high=0.95)
    head: Head = setting("regression", "kind of output: numbers for an age, numbers for points, a mask, or heat maps")
    sex: Literal["none", "input", "heads"] = setting(
        "input", "how the network is told the sex: not at all, as an input of its head, or by an output layer a sex"
    )
    dtype: Literal["float32", "bfloat16"] = setting("float32", "type of computation; parameters stay float32")
    kernels: Literal["auto", "plain", "cpu"] = setting(
        "auto", "form of convolution and pooling gradients: `cpu` is faster on CPUs and equal in value"
    )


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """The task: what a network learns."""

    name: Literal["bone_age", "segmentation", "landmarks"] = setting("bone_age", "task")
    age: Literal["regression", "classification", "distribution"] = setting(
        "regression",
        "bone_age: one number (paper); 240 classes and their expectation (paper); the same, taught soft labels",
    )
    label_sd: float = setting(6.0, "bone_age, distribution: width of the soft labels, in months", above=0.0)
    target_centre: float = setting(120.0, "months at the scaled target 0 (paper)")
    target_scale: float = setting(120.0, "months in one unit of the scaled target (paper)", above=0.0)
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
    flip: float = setting(0.0, "probability of mirroring left and right", low=0.0, high=1.0)
    invert: float = setting(0.0, "probability of exchanging black and white", low=0.0, high=1.0)
    gamma: float = setting(0.2, "largest change of gamma: exponents in [1 - gamma, 1 + gamma]", low=0.0, high=0.9)
    contrast: float = setting(0.1, "largest relative change of contrast about the image's mean", low=0.0, high=0.9)
    blur: float = setting(
        0.0, "largest standard deviation of a blur, in pixels; half of the images stay sharp", low=0.0, high=16.0
    )
    noise: float = setting(0.0, "largest standard deviation of noise", low=0.0, high=1.0)
    sharpen: float = setting(
        0.0, "largest strength of an unsharp mask of one pixel; half of the images are left as they are", low=0.0
    )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser and its schedule."""

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
    """Length, batch size and seed of the training."""

    length: str = setting(
        "12 epochs", "duration of the run in steps, epochs (of the dataset, with what data.mix adds) or examples"
    )
    batch_size: int = setting(32, "global batch size, in images", low=1)
    accumulation: int = setting(1, "parts a batch is computed in, one after the other, to save memory", low=1)
    seed: int = setting(0, "seed of weights, order, augmentation and dropout", low=0, high=2**31 - 1)
    start: str = setting(
        "",
        "run of the same network, whose weights training starts from: its folder, FILE:MEMBER of a bundle, or "
        "NAME:MEMBER of one that is shipped, as in phantom_only:age0; '' for random ones",
    )
    start_parts: Literal["all", "backbones", "widened"] = setting(
        "all",
        "start: what is taken from that run; `backbones` leaves the head random, and gives each region the backbone of "
        "its place, the first where the run has fewer; `widened` repeats the channels of a narrower network, so that "
        "the wider one starts with its answers (Net2WiderNet, Chen et al. 2015, arXiv 1511.05641)",
    )
    ema: float = setting(
        0.0, "decay of the moving average of the weights used in evaluation; 0 for none", low=0.0, high=0.99999
    )
    devices: int = setting(0, "devices to train on; 0 for all", low=0)
    transfer_guard: bool = setting(True, "refuse hidden copies between host and device in the loop")


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation during training."""

    every: str = setting("1 epochs", "duration between evaluations")
    batch_size: int = setting(64, "global batch size of evaluation", low=1)


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints of a run."""

    every: str = setting("1 epochs", "duration between checkpoints")
    keep_last: int = setting(2, "newest checkpoints kept", low=1)
    keep_best: int = setting(1, "checkpoints of best evaluation score kept", low=1)


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Logs of a run."""

    every: str = setting("10 steps", "duration between lines of metrics.jsonl and TensorBoard")
    tensorboard: bool = setting(True, "write TensorBoard event files")


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """An experiment: all settings of a run."""

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
        "data.oversampled_masks",
        "data.eval_masks",
        "data.key_points",
        "model.weights",
        "train.start",
    }
)
"""Keys of files and folders on the machine of the training."""

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
"""Keys that change where and how fast a run goes, not its results; `model.weights` and `train.start` change these."""


def to_dict(config: ExperimentConfig) -> dict[str, dict[str, Any]]:
    """Returns the config as plain nested dictionaries."""
    return dataclasses.asdict(config)
