"""Describes built datasets: splits, features, sizes, ages."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from boneage_jax.data.sources import Dataset


def describe(data_dir: pathlib.Path, name: str) -> dict[str, Any]:
    """Returns splits, features, sizes and the age distribution of a built dataset, as JSON can hold them.

    Args:
      data_dir: folder of built datasets.
      name: as in `hand_phantom/tiny`.

    Raises:
      UserError: for a dataset that has not been built.
    """
    dataset = Dataset.open(data_dir, name)
    splits = {}
    for split in dataset.splits:
        records = dataset.split(split)
        ages, males = records.labels()
        known = ages[np.isfinite(ages)]
        splits[split] = {
            "images": len(records),
            "male": int(males.sum()),
            "months": {"min": float(known.min()), "mean": float(known.mean()), "max": float(known.max())}
            if len(known)
            else None,
        }
    return {
        "name": name,
        "path": str(dataset.path),
        "fingerprint": dataset.fingerprint,
        "splits": splits,
        "features": dataset.features,
    }


def as_text(description: dict[str, Any]) -> str:
    """Returns `describe`'s result for people."""
    lines = [f"{description['name']} at {description['path']}", f"fingerprint {description['fingerprint']}", ""]
    lines.append(f"{'split':<12}{'images':>8}{'male':>8}{'months':>30}")
    for split, facts in description["splits"].items():
        months = facts["months"]
        shown = f"{months['min']:.1f} to {months['max']:.1f}, mean {months['mean']:.1f}" if months else "no ages"
        lines.append(f"{split:<12}{facts['images']:>8}{facts['male']:>8}{shown:>30}")
    lines += ["", "features: " + ", ".join(description["features"])]
    return "\n".join(lines)


def as_json(description: dict[str, Any]) -> str:
    """Returns `describe`'s result for machines."""
    return json.dumps(description, indent=2)
