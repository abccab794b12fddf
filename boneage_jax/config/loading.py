"""Reads `--config=FILE[:ARG]` and `--config.key=value`, as ml_collections has them, and validates the result."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from boneage_jax import renamed
from boneage_jax.config import ExperimentConfig, all_keys, validate
from boneage_jax.config.files import path_of
from boneage_jax.errors import UserError
from boneage_jax.files import local
from boneage_jax.settings import did_you_mean


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the arguments of a config, and all others.

    Args:
      arguments: of a command line. A config's value may be an argument of its own, as in `--config FILE` and
        `--config.key VALUE`; it is joined as in `--config=FILE`.
    """
    config_arguments: list[str] = []
    others: list[str] = []
    value_is_next = False
    for argument in arguments:
        if value_is_next:
            config_arguments[-1] += f"={argument}"
            value_is_next = False
        elif is_config_argument(argument):
            config_arguments.append(argument)
            value_is_next = "=" not in argument
        else:
            others.append(argument)
    return config_arguments, others


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
    arguments, others = split_arguments(arguments)
    if others:
        raise UserError(f"{others[0]}: not an argument of a config, expected --config=FILE or --config.KEY=VALUE")
    named = [a for a in arguments if re.match(r"--?config=", a)]
    if len(named) != 1:
        raise UserError(f"found {len(named)} times --config=FILE, expected it once, as in --config=configs/tiny.py")
    named_file = named[0].split("=", 1)[1]
    local(named_file)
    name, separator, argument = named_file.partition(":")
    path = path_of(name)
    overrides = [a for a in arguments if not re.match(r"--?config=", a)]
    for override in overrides:
        key = _key(override)
        if "=" not in override:
            raise UserError(f"{override}: found no value, expected --config.{key}=VALUE")
        if key not in all_keys() and key not in renamed.KEYS:
            raise UserError(f"--config.{key}: no such key{did_you_mean(key, all_keys())}")
    # The config file has no keys of older versions: they are set afterwards, and `validate` renames them.
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
        # A config file is code, and may raise anything.
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


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().strip("\"'").splitlines() if line.strip()]
    return lines[-1].strip() if lines else repr(error)
