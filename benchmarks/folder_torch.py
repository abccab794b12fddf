"""The networks of a bundle in PyTorch, with the same weights, ready to be timed.

A twin takes what `hand.network.Network.predict` takes and returns what that returns: scaling of grey levels,
test-time moves, the network, and the task's reading of its outputs, all in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from boneage_jax.data.augment import Move
from boneage_jax.models.blocks import BATCH_NORM_EPSILON
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.tasks.bone_age import CLASSES
from boneage_jax.tasks.task import LEAST_DEVIATION

FORMS = ("eager", "folded", "compiled")
"""`eager`: modules as they are written. `folded`: batch norm folded into the convolution before it. `compiled`: the
folded one by `torch.compile`."""

Twin = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From images of bytes (b, h, w) or (b, h, w, p), and 1 for each boy, to a network's predictions."""

Tree = Mapping[str, Any]
"""Nested dictionaries of arrays, as `LoadedRun.arrays` has them."""


def twin_of(loaded: LoadedRun, *, moves: Sequence[Move] = (Move(),), form: str = "eager") -> Twin:
    """Returns the twin of a network: channels last, float32, no gradients.

    Args:
      loaded: the network: a U-Net, or a ResNet of two convolutions a block.
      moves: whose predictions are averaged.
      form: one of `FORMS`.

    Raises:
      ValueError: for other networks, and for moves that shift or mirror.
    """
    network = module_of(loaded, folded=form != "eager")
    size = (loaded.config.data.height, loaded.config.data.width)
    grids = [None if move == Move() else _grid(move, *size) for move in moves]
    read = _READ[loaded.config.task.name]

    def predict(images: Tensor, male: Tensor) -> Tensor:
        grey = images.float() / 255
        # A single channel lies the same in both layouts; several, side by side in the last axis, are channels last.
        planes = grey[:, None] if grey.ndim == 3 else grey.permute(0, 3, 1, 2)
        return torch.stack([read(network, _moved(planes, grid), male) for grid in grids]).mean(0)

    program = torch.compile(predict, dynamic=False) if form == "compiled" else predict

    def twin(images: np.ndarray, male: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = program(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(male))
        answer: np.ndarray = found.numpy()
        return answer

    return twin


def parameters(network: nn.Module) -> int:
    """Returns the number of weights."""
    return sum(one.numel() for one in network.parameters())


def module_of(loaded: LoadedRun, *, folded: bool = False) -> nn.Module:
    """Returns a network as a module with its weights.

    Args:
      loaded: the network.
      folded: whether batch norm is folded into the convolution before it.

    Raises:
      ValueError: for other networks than U-Nets and ResNets of two convolutions a block.
    """
    import jax

    model = loaded.config.model
    arrays = jax.tree.map(np.asarray, jax.device_get(loaded.arrays))
    params, stats = arrays["params"], arrays["batch_stats"]
    made: nn.Module
    if model.name == "unet":
        made = _UNet(params, stats, patch=model.patch, expand=model.patch if model.head == "mask" else 1, folded=folded)
    elif model.name == "resnet" and model.depth in (10, 18, 34) and model.sex in ("input", "none"):
        made = _Regressor(params, stats, folded=folded)
    else:
        raise ValueError(f"{model.name} of depth {model.depth}, sex {model.sex}: no twin in PyTorch is written for it")
    return made.eval().requires_grad_(False).to(memory_format=torch.channels_last)


# ---- parts --------------------------------------------------------------------------------------------------------


def _filled(weight: Tensor | nn.Parameter, values: np.ndarray) -> None:
    """Copies values into a weight of the same shape."""
    assert tuple(weight.shape) == values.shape, (tuple(weight.shape), values.shape)
    with torch.no_grad():
        weight.copy_(torch.from_numpy(np.array(values, np.float32)))


def _conv(arrays: Tree, stride: int = 1) -> nn.Conv2d:
    """A convolution; its kernel is (k, k, inputs, outputs) in JAX."""
    k, _, inputs, outputs = arrays["kernel"].shape
    made = nn.Conv2d(inputs, outputs, k, stride, padding=k // 2, bias=arrays.get("bias") is not None)
    _filled(made.weight, arrays["kernel"].transpose(3, 2, 0, 1))
    if made.bias is not None:
        _filled(made.bias, arrays["bias"])
    return made


def _pixelwise(arrays: Tree, expand: int = 1) -> nn.Sequential:
    """A dense layer at each pixel, its outputs spread over `expand` x `expand` pixels.

    JAX has them as (rows, columns, maps), PyTorch's pixel shuffle as (maps, rows, columns).
    """
    inputs, outputs = arrays["kernel"].shape
    order = np.arange(outputs).reshape(expand, expand, -1).transpose(2, 0, 1).ravel()
    made = nn.Conv2d(inputs, outputs, 1)
    _filled(made.weight, arrays["kernel"].T[order][:, :, None, None])
    assert made.bias is not None
    _filled(made.bias, arrays["bias"][order])
    return nn.Sequential(made, nn.PixelShuffle(expand)) if expand > 1 else nn.Sequential(made)


def _dense(arrays: Tree) -> nn.Linear:
    made = nn.Linear(*arrays["kernel"].shape)
    _filled(made.weight, arrays["kernel"].T)
    _filled(made.bias, arrays["bias"])
    return made


def _unit(params: Tree, stats: Tree, *, folded: bool, stride: int = 1) -> nn.Module:
    """Convolution, batch norm."""
    convolution = _conv(params["conv"], stride)
    norm = nn.BatchNorm2d(convolution.out_channels, eps=BATCH_NORM_EPSILON)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    for weight, values in (
        (norm.weight, params["norm"]["scale"]),
        (norm.bias, params["norm"]["bias"]),
        (norm.running_mean, stats["norm"]["mean"]),
        (norm.running_var, stats["norm"]["var"]),
    ):
        _filled(weight, values)
    made = nn.Sequential(convolution, norm).eval()
    return fuse_conv_bn_eval(convolution.eval(), norm) if folded else made


def _numbered(arrays: Tree) -> list[Any]:
    """The items of a list of modules, in order."""
    return [arrays[str(n)] for n in range(len(arrays))]


# ---- networks -----------------------------------------------------------------------------------------------------


class _UNet(nn.Module):
    """Twin of `models.unet.UNet`."""

    def __init__(self, params: Tree, stats: Tree, *, patch: int, expand: int, folded: bool):
        super().__init__()

        def levels(name: str) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(
                    _unit(weights["first"], of["first"], folded=folded),
                    nn.ReLU(inplace=True),
                    _unit(weights["second"], of["second"], folded=folded),
                    nn.ReLU(inplace=True),
                )
                for weights, of in zip(_numbered(params[name]), _numbered(stats[name]), strict=True)
            )

        self.patch = patch
        self.down, self.levels = levels("down"), levels("levels")
        self.up = nn.ModuleList(_pixelwise(one["dense"], 2) for one in _numbered(params["up"]))
        self.head = _pixelwise(params["head"], expand)

    def forward(self, x: Tensor, male: Tensor) -> Tensor:
        x = F.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level in self.down:
            x = level(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for up, level, skip in zip(self.up, self.levels, reversed(skips[:-1]), strict=True):
            x = level(torch.cat([skip, up(x)], 1))
        maps: Tensor = self.head(x)
        return maps


class _Block(nn.Module):
    """Twin of `models.resnet.Block`."""

    def __init__(self, params: Tree, stats: Tree, *, stride: int, folded: bool):
        super().__init__()
        first, second = zip(_numbered(params["units"]), _numbered(stats["units"]), strict=True)
        self.body = nn.Sequential(
            _unit(*first, folded=folded, stride=stride), nn.ReLU(inplace=True), _unit(*second, folded=folded)
        )
        self.shortcut: nn.Module = nn.Identity()
        if params.get("shortcut"):
            self.shortcut = _unit(params["shortcut"], stats["shortcut"], folded=folded, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.body(x) + self.shortcut(x))


def _backbone(params: Tree, stats: Tree, *, folded: bool) -> nn.Sequential:
    """Twin of `models.resnet.ResNet`, without the average at its end."""
    layers = [
        _unit(params["stem"], stats["stem"], folded=folded, stride=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, padding=1),
    ]
    channels = layers_in = params["stem"]["conv"]["kernel"].shape[-1]
    for weights, of in zip(_numbered(params["blocks"]), _numbered(stats["blocks"]), strict=True):
        channels = weights["units"]["0"]["conv"]["kernel"].shape[-1]
        # Of two convolutions a block: every stage but the first starts with a stride, where its width changes.
        layers.append(_Block(weights, of, stride=1 if channels == layers_in else 2, folded=folded))
        layers_in = channels
    return nn.Sequential(*layers)


class _Regressor(nn.Module):
    """Twin of `models.regressor.Regressor` over ResNets."""

    def __init__(self, params: Tree, stats: Tree, *, folded: bool):
        super().__init__()
        self.backbones = nn.ModuleList(
            _backbone(weights, of, folded=folded)
            for weights, of in zip(_numbered(params["backbones"]), _numbered(stats["backbones"]), strict=True)
        )
        head = params["head"]
        self.sex = _dense(head["sex"]) if head.get("sex") else None
        self.hidden = nn.ModuleList(map(_dense, _numbered(head["hidden"])))
        self.last = _dense(head["last"])

    def forward(self, x: Tensor, male: Tensor) -> Tensor:
        features = [backbone(x[:, n : n + 1]).mean((2, 3)) for n, backbone in enumerate(self.backbones)]
        if self.sex is not None:
            features.append(F.elu(self.sex(male[:, None] * 2 - 1)))
        y = torch.cat(features, 1)
        for dense in self.hidden:
            y = F.elu(dense(y))
        outputs: Tensor = self.last(y)
        return outputs


# ---- what stands around a network -----------------------------------------------------------------------------------


def _grid(move: Move, height: int, width: int) -> Tensor:
    """Where `grid_sample` fetches each pixel, (1, h, w, 2), for a move about the image's middle; see `augment.moved`.

    Raises:
      ValueError: for moves that shift or mirror.
    """
    if tuple(move.shift) != (0.0, 0.0) or move.mirror:
        raise ValueError(f"{move}: expected a turn or a zoom")
    y = torch.arange(height)[:, None] - (height - 1) / 2
    x = torch.arange(width)[None, :] - (width - 1) / 2
    angle = math.radians(float(move.rotation))
    c, s = math.cos(angle) / float(move.zoom), math.sin(angle) / float(move.zoom)
    # With `align_corners` the outermost pixels' centres lie at -1 and 1.
    return torch.stack([(s * y + c * x) * 2 / (width - 1), (c * y - s * x) * 2 / (height - 1)], -1)[None].float()


def _moved(planes: Tensor, grid: Tensor | None) -> Tensor:
    if grid is None:
        return planes
    grids = grid.expand(len(planes), -1, -1, -1)
    return F.grid_sample(planes, grids, mode="bilinear", padding_mode="zeros", align_corners=True)


def _mask(network: nn.Module, planes: Tensor, male: Tensor) -> Tensor:
    """Probability that a pixel shows the hand, (b, h, w)."""
    mean = planes.mean((2, 3), keepdim=True)
    deviation = (planes - mean).square().mean((2, 3), keepdim=True).sqrt().clamp_min(LEAST_DEVIATION)
    return torch.sigmoid(network((planes - mean) / deviation, male))[:, 0]


def _key_points(network: nn.Module, planes: Tensor, male: Tensor) -> Tensor:
    """Place of each key point and its spread, in pixels of the input, (b, 3, 3)."""
    maps = network(planes * 2 - 1, male)
    h, w = maps.shape[2:]
    step = planes.shape[2] // h
    probability = maps.flatten(2).softmax(-1).unflatten(-1, (h, w))
    columns, rows = probability.sum(2), probability.sum(3)
    across, down = torch.arange(w, dtype=torch.float32), torch.arange(h, dtype=torch.float32)
    x, y = columns @ across, rows @ down
    variance = (columns * (across - x[..., None]).square()).sum(-1) + (rows * (down - y[..., None]).square()).sum(-1)
    half = (step - 1) / 2
    return torch.stack([x * step + half, y * step + half, variance.sqrt() * step], -1)


def _age(network: nn.Module, planes: Tensor, male: Tensor) -> Tensor:
    """Age and its spread, in months, (b, 2), by the expectation over months."""
    probability = network(planes * 2 - 1, male).softmax(-1)
    months = torch.arange(CLASSES, dtype=torch.float32)
    age = probability @ months
    return torch.stack([age, (probability * (months - age[:, None]).square()).sum(-1).sqrt()], -1)


_READ: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "segmentation": _mask,
    "landmarks": _key_points,
    "bone_age": _age,
}
