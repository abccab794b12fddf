"""Reads `--config=FILE[:ARG]` and `--config.key=value` as ml_collections' users know them, and validates the result."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from boneage_jax import resources
from boneage_jax.config import ExperimentConfig, all_keys, renamed, validate
from boneage_jax.errors import UserError
from boneage_jax.files import local
from boneage_jax.settings import did_you_mean


def is_config_argument(argument: str) -> bool:
    """Returns whether a command line argument belongs to the config."""
    return re.match(r"--?config(\.[^=]+)?(=|$)", argument) is not None


def load(arguments: Sequence[str]) -> ExperimentConfig:
    """Returns the validated config of the given arguments.

    Args:
      arguments: `--config=FILE[:ARG]` once, then any number of `--config.section.key=value`.

    Raises:
      UserError: no config named, no such file, an address, an error in the file, an unknown key or a bad value.
    """
    arguments = _joined(arguments)
    named = [a for a in arguments if re.match(r"--?config=", a)]
    if len(named) != 1:
        raise UserError(f"found {len(named)} times --config=FILE, expected it once, as in --config=configs/tiny.py")
    named_file = named[0].split("=", 1)[1]
    local(named_file)
    name, separator, argument = named_file.partition(":")
    path = pathlib.Path(name) if pathlib.Path(name).is_file() else resources.config_file(name)
    if not path.is_file():
        raise UserError(f"{name}: no such config; shipped are {', '.join(resources.shipped_configs())}")
    overrides = [a for a in arguments if not re.match(r"--?config=", a)]
    for override in overrides:
        key = _key(override)
        if "=" not in override:
            raise UserError(f"{override}: found no value, expected --config.{key}=VALUE")
        if key not in all_keys() and key not in renamed.KEYS:
            raise UserError(f"--config.{key}: no such key{did_you_mean(key, all_keys())}")
    # Keys of older versions are no keys of the config file: they are set afterwards, and renamed by `validate`.
    old = [a for a in overrides if _key(a) in renamed.KEYS]
    values = flags.FlagValues()
    command_line = ["boneage", f"--config={path}{separator}{argument}", *(a for a in overrides if a not in old)]
    holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=command_line)
    try:
        values(command_line)
        config: ConfigDict = holder.value
    except flags.Error as error:
        raise UserError(f"{name}: {_last_line(error)}") from error
    except Exception as error:
        # Whatever a config file's own code raises: a misspelt key of the locked default config, or a bug of its own.
        raise UserError(f"{name}: {type(error).__name__} while reading the config: {_last_line(error)}") from error
    nested = config.to_dict()
    for override in old:
        section, old_name = _key(override).split(".")
        nested[section][old_name] = _literal(override.partition("=")[2])
    return validate(nested, origin=name)


def _key(override: str) -> str:
    """The dotted key of `--config.section.key=value`."""
    return override.lstrip("-").partition("=")[0].removeprefix("config.")


def _literal(text: str) -> Any:
    """The value of an override: a number, or text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--config FILE` and `--config.key VALUE` as `--config=FILE` and `--config.key=VALUE`."""
    joined: list[str] = []
    waiting = False
    for argument in arguments:
        if waiting:
            joined[-1] += f"={argument}"
            waiting = False
        else:
            joined.append(argument)
            waiting = is_config_argument(argument) and "=" not in argument
    return joined


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().strip("\"'").splitlines() if line.strip()]
    return lines[-1].strip() if lines else repr(error)
