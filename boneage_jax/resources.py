"""Finds the configs and dataset builders: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

import importlib
import pathlib
from types import ModuleType

_PACKAGE = pathlib.Path(__file__).parent


def config_file(name: str) -> pathlib.Path:
    """Returns the path of a shipped config such as `configs/tiny.py`, which may not exist."""
    for root in (_PACKAGE, _PACKAGE.parent):
        if (root / name).is_file():
            return root / name
    return pathlib.Path(name)


def shipped_configs() -> list[str]:
    """Returns the names of all shipped configs, as in `configs/tiny.py`."""
    for root in (_PACKAGE, _PACKAGE.parent):
        files = sorted(
            p.relative_to(root).as_posix()
            for p in (root / "configs").rglob("*.py")
            if p.stem != "__init__" and p.parent.name != "sweeps"
        )
        if files:
            return files
    return []


SHIPPED = "shipped"
"""Stands for the bundle that is used where none is named; all that are shipped go by their names too."""

PHANTOM_BUNDLE = "phantom_only"
"""The shipped bundle whose networks have seen rendered phantoms only."""

DEFAULT_BUNDLE = "rsna"
"""The shipped bundle that is used where none is named: its age networks have learnt from real radiographs."""


def shipped_bundles() -> list[str]:
    """Returns the names of the bundles that are shipped."""
    return sorted(path.stem for path in (_PACKAGE / "bundles").glob("*.safetensors"))


def shipped_bundle(name: str = "") -> pathlib.Path:
    """Returns the file of a bundle that is shipped; of `DEFAULT_BUNDLE` for no name."""
    return _PACKAGE / "bundles" / f"{name or DEFAULT_BUNDLE}.safetensors"


def is_shipped(name: str) -> bool:
    """Returns whether a name stands for a bundle that is shipped: the same on all machines."""
    return name in (SHIPPED, *shipped_bundles())


def bundle_file(text: str) -> pathlib.Path:
    """Returns the file that a text names: one of one's own, else a shipped bundle by its name or as `shipped`."""
    path = pathlib.Path(text)
    if path.exists() or not is_shipped(text):
        return path
    return shipped_bundle("" if text == SHIPPED else text)


def builder_module(dataset: str) -> ModuleType:
    """Imports the TFDS builder module of `rsna_bone_age` or `hand_phantom`.

    Raises:
      ModuleNotFoundError: for a dataset that the project does not ship.
    """
    inside = (_PACKAGE / "tfds_builder").is_dir()
    root = "boneage_jax.tfds_builder" if inside else "tfds_builder"
    return importlib.import_module(f"{root}.{dataset}.{dataset}_dataset_builder")
