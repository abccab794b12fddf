"""The run-time type checker of the tests: the shapes and types of arrays, by jaxtyping and beartype.

What is no array is left to mypy: its types (files, callbacks, settings) say what beartype does not know or not as well.
"""

import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype


def _holds_an_array(hint: Any) -> bool:
    """Whether a type is one of jaxtyping's, or is made of one."""
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(_holds_an_array(inner) for inner in typing.get_args(hint))


TREES = ("boneage_jax.phantoms.", "boneage_jax.runs.state")
"""Modules whose dataclasses are trees to JAX, which makes them of batches, shapes and shardings too."""


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with all calls checked; jaxtyping calls this with its types resolved."""
    if function.__name__ == "__init__" and f"{function.__module__}.".startswith(TREES):
        return function
    hints = function.__annotations__
    assert not any(isinstance(hint, str) for hint in hints.values()), f"{function}: types that are still text"
    function.__annotations__ = {name: hint if _holds_an_array(hint) else object for name, hint in hints.items()}
    return beartype(function)
