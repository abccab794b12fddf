"""What is done before JAX starts, for programs that use the package as a library."""

from __future__ import annotations

import os
import sys
import warnings

from boneage_jax import environment

_BACKEND = "MPLBACKEND"


def prepare() -> None:
    """Does what a command does before JAX starts, so that numbers are the same; for programs that import the API.

    Figures stay with the program: a notebook shows them itself. Where the program has imported JAX already, nothing can
    be set any more: settings of JAX that change the numbers are warned of.
    """
    if "jax" in sys.modules:
        _warn_of_settings()
        return
    backend = os.environ.get(_BACKEND)
    environment.prepare()
    if backend is None:
        del os.environ[_BACKEND]
    else:
        os.environ[_BACKEND] = backend


def _warn_of_settings() -> None:
    import jax

    known = {name: str(getattr(jax.config, name.lower())).lower() for name in _SETTINGS}
    changed = [name.lower() for name, value in known.items() if value not in environment.CHANGE_NUMBERS[name]]
    if changed:
        warnings.warn(
            f"boneage: JAX runs with other values of {', '.join(changed)} than the command line, so numbers may differ "
            "from its; import boneage_jax before JAX is set up, or leave these settings as they are",
            stacklevel=4,
        )


_SETTINGS = (
    "JAX_DEFAULT_PRNG_IMPL",
    "JAX_ENABLE_X64",
    "JAX_NUMPY_DTYPE_PROMOTION",
    "JAX_RANDOM_SEED_OFFSET",
    "JAX_THREEFRY_PARTITIONABLE",
)
"""Those of `environment.CHANGE_NUMBERS` that a running JAX tells by the same name and values."""
