"""Weights of ResNets from PyTorch: `state_dict`s of torchvision and timm, as safetensors or as torch.save wrote them.

Their names agree: conv1, bn1, layerS.N.convK, layerS.N.bnK, layerS.N.downsample.0 and .1. A stem that has learnt from
three colours becomes one for grey by the sum over its colours, which is what grey pictures in three channels would get.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from jaxtyping import Float

from boneage_jax.config import ModelConfig
from boneage_jax.errors import UserError, listed, missing_extra, reason
from boneage_jax.models.resnet import BLOCKS, BOTTLENECKS

Tensors = Mapping[str, np.ndarray]


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns a file's tensors by name.

    Args:
      path: `.safetensors`; or `.pth`, `.pt`, `.bin`, which need PyTorch.

    Raises:
      UserError: for a file that is not there or cannot be read, and where a library is missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected weights of a ResNet from torchvision or timm")
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.numpy.load_file(path))
        try:
            import torch
        except ImportError as error:
            raise missing_extra("torch", "reference", f"reading {path}") from error
        found = torch.load(path, map_location="cpu", weights_only=True)
        found = found.get("state_dict", found)
        return {name: tensor.float().numpy() for name, tensor in found.items()}
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: not a file of weights ({reason(error)}); expected a state_dict") from error


def backbone_of(tensors: Tensors, config: ModelConfig, *, origin: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns weights and batch statistics of a `ResNet`, as nested dictionaries keyed by text.

    Args:
      tensors: by name; a last layer `fc` is left out.
      config: of the network they are for.
      origin: what the tensors are called in a message.

    Raises:
      UserError: naming the tensors that are missing or of another shape.
    """
    problems: list[str] = []
    bottleneck = config.depth in BOTTLENECKS

    def tensor(name: str) -> np.ndarray:
        if name not in tensors:
            problems.append(f"{name}: not there")
            return np.zeros((1, 1, 1, 1))
        return np.asarray(tensors[name], np.float32)

    def unit(convolution: str, norm: str) -> tuple[dict[str, Any], dict[str, Any]]:
        weights = {
            "conv": {"kernel": tensor(f"{convolution}.weight").transpose(2, 3, 1, 0)},
            "norm": {"scale": tensor(f"{norm}.weight"), "bias": tensor(f"{norm}.bias")},
        }
        return weights, {"norm": {"mean": tensor(f"{norm}.running_mean"), "var": tensor(f"{norm}.running_var")}}

    weights, statistics = {}, {}
    weights["stem"], statistics["stem"] = unit("conv1", "bn1")
    kernel: Float[np.ndarray, "7 7 c o"] = weights["stem"]["conv"]["kernel"]
    weights["stem"]["conv"]["kernel"] = kernel.sum(2, keepdims=True)
    weights["blocks"], statistics["blocks"] = {}, {}
    names = [f"layer{stage + 1}.{n}" for stage, count in enumerate(BLOCKS[config.depth]) for n in range(count)]
    for number, name in enumerate(names):
        units = [unit(f"{name}.conv{k}", f"{name}.bn{k}") for k in range(1, 4 if bottleneck else 3)]
        block = {"units": {str(k): one for k, (one, _) in enumerate(units)}}
        block_statistics = {"units": {str(k): one for k, (_, one) in enumerate(units)}}
        if f"{name}.downsample.0.weight" in tensors:
            block["shortcut"], block_statistics["shortcut"] = unit(f"{name}.downsample.0", f"{name}.downsample.1")
        weights["blocks"][str(number)] = block
        statistics["blocks"][str(number)] = block_statistics
    if problems:
        raise UserError(
            f"{origin}: no weights of a ResNet-{config.depth} ({len(problems)} tensors are missing):\n"
            f"{listed(problems)}\nexpected the names of torchvision or timm, and model.depth as it was trained"
        )
    return weights, statistics
