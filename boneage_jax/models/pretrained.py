"""Weights of PyTorch: `state_dict`s of torchvision and timm, as safetensors or as torch.save wrote them.

Which tensors a backbone takes, and how they are laid out, its architecture declares.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from boneage_jax.errors import UserError, listed, missing_extra, reason
from boneage_jax.models import registry
from boneage_jax.schema import ModelConfig

Tensors = Mapping[str, np.ndarray]


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns a file's tensors by name.

    Args:
      path: `.safetensors`; or `.pth`, `.pt`, `.bin`, which need PyTorch.

    Raises:
      UserError: for a file that is not there or cannot be read, and where a library is missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected weights as torchvision or timm save them")
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
    """Returns weights and batch statistics of a backbone, as nested dictionaries keyed by text.

    Args:
      tensors: by name; those that the backbone does not take, such as a last layer's, are left out.
      config: of the network they are for.
      origin: name of their file, for messages.

    Raises:
      UserError: naming the tensors that are missing, and for a network that has no such weights.
    """
    architecture = registry.named(config.name)
    if architecture.pretrained is None:
        raise UserError(f"{origin}: a {config.name} cannot start from weights of PyTorch; set model.weights to ''")
    wanted = list(architecture.pretrained(config))
    if missing := [f"{one.name}: not there" for one in wanted if one.name not in tensors]:
        raise UserError(
            f"{origin}: no weights of a {config.name} of depth {config.depth} ({len(missing)} tensors are missing):\n"
            f"{listed(missing)}\n"
            f"expected the names of {architecture.pretrained_from}, and model.depth as it was trained"
        )
    weights: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    for one in wanted:
        *above, key = one.path
        group = statistics if one.statistic else weights
        for name in above:
            group = group.setdefault(name, {})
        tensor = np.asarray(tensors[one.name], np.float32)
        try:
            group[key] = one.convert(tensor)
        except (ValueError, IndexError) as error:
            raise UserError(
                f"{origin}: {one.name}: found the shape {tensor.shape}, expected that of a {config.name}"
            ) from error
    return weights, statistics
