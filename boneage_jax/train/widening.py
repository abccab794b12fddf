"""A wide network that computes what a narrow one does: Net2WiderNet (Chen et al. 2015, arXiv 1511.05641, section 2.3).

Each channel is repeated a whole number of times, copies side by side, so that it works for features that were laid one
after the other (regions, skips of a U-Net) as well. What reads a channel shares its weight among the copies at random:
the sum, and with it the output, stays as it was, but copies have gradients of their own and come apart in training.
"""

from __future__ import annotations

import jax
import numpy as np

from boneage_jax.errors import fail_if_any
from boneage_jax.runs.state import Arrays


def widened(arrays: Arrays, shapes: Arrays, *, seed: int, origin: str) -> Arrays:
    """Returns the weights of a wide network that computes what a narrow one does.

    Args:
      arrays: `params` and `batch_stats` of the narrow network.
      shapes: the same of the wide one; only their shapes are read.
      seed: of the shares.
      origin: name of the narrow network, for messages.

    Raises:
      UserError: where a width is no whole multiple, or anything else than widths differs; names what does.
    """
    generator = np.random.default_rng(seed)
    narrow = {_path(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(arrays)}
    wide, structure = jax.tree.flatten_with_path(shapes)
    # The head's first layer reads the sex behind the features: that part is no wider.
    sexes = narrow["params/head/sex/bias"].size if "params/head/sex/bias" in narrow else 0
    first = next((name for name in ("params/head/hidden/0/kernel", "params/head/last/kernel") if name in narrow), "")
    wrong, made = [], []
    for path, leaf in wide:
        name = _path(path)
        found = narrow.pop(name, None)
        apart = sexes if name == first else 0
        if found is None or not _fits(found.shape, leaf.shape, apart):
            shape = "nothing" if found is None else found.shape
            wrong.append(f"{name}: found {shape}, expected {leaf.shape} or a part")
            continue
        made.append(_wide(found, leaf.shape, apart, generator))
    wrong += [f"{name}: found {found.shape}, expected nothing" for name, found in narrow.items()]
    fail_if_any(
        wrong,
        f"train.start: {origin} cannot be widened to this network",
        "Set model.widths and model.dense to whole multiples of its config's, all other keys of model to the same.",
    )
    return jax.tree.unflatten(structure, made)


def _fits(found: tuple[int, ...], wanted: tuple[int, ...], apart: int) -> bool:
    """Whether the last two axes are whole multiples, the others the same."""
    if len(found) != len(wanted) or found[:-2] != wanted[:-2]:
        return False
    inputs = (found[-2] - apart, wanted[-2] - apart) if len(found) > 1 else (1, 1)
    return all(small > 0 and large % small == 0 for small, large in (inputs, (found[-1], wanted[-1])))


def _wide(found: np.ndarray, wanted: tuple[int, ...], apart: int, generator: np.random.Generator) -> np.ndarray:
    """An array with each output repeated, and each input's weight shared among its copies."""
    outputs = np.repeat(found, wanted[-1] // found.shape[-1], axis=-1)
    if found.ndim == 1 or found.shape[-2] == wanted[-2]:
        return outputs
    inputs = found.shape[-2] - apart
    copies = (wanted[-2] - apart) // inputs
    # Evenly between 0 and 1 before they are made to sum to 1: copies must differ, or they would be taught the same.
    shares = generator.uniform(size=(inputs, copies, wanted[-1]))
    shares = (shares / shares.sum(1, keepdims=True)).reshape(inputs * copies, wanted[-1])
    split = np.repeat(outputs[..., :inputs, :], copies, axis=-2) * shares
    return np.concatenate([split, outputs[..., inputs:, :]], axis=-2).astype(found.dtype)


def _path(path: jax.tree_util.KeyPath) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
