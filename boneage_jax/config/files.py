"""Config files: Python whose `get_config` returns a config."""

from __future__ import annotations

import importlib.util
import pathlib

from ml_collections import ConfigDict

from boneage_jax import resources
from boneage_jax.errors import UserError


def path_of(name: str) -> pathlib.Path:
    """Returns the path of a config file: one of your own, or a shipped one.

    Args:
      name: as in `configs/tiny.py`, without an argument.

    Raises:
      UserError: where there is no such file; names the shipped ones.
    """
    path = pathlib.Path(name) if pathlib.Path(name).is_file() else resources.config_file(name)
    if not path.is_file():
        raise UserError(f"{name}: no such config; shipped are {', '.join(resources.shipped_configs())}")
    return path


def read_config(name: str) -> ConfigDict:
    """Returns the config of a file, for another that is to be equal to it but for a few settings.

    Args:
      name: as `--config` takes it: `configs/m46.py`, or with an argument `configs/m46.py:3x3`.

    Raises:
      UserError: where there is no such file.
    """
    file, _, argument = name.partition(":")
    spec = importlib.util.spec_from_file_location("boneage_config", path_of(file))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config: ConfigDict = module.get_config(argument) if argument else module.get_config()
    return config
