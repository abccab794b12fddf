"""The attribution methods that `boneage importance` asks. A new one is a file beside this one, and a line below."""

from __future__ import annotations

from collections.abc import Sequence

from boneage_jax.errors import UserError
from boneage_jax.importance import gradients, masking
from boneage_jax.importance.method import Method, slug
from boneage_jax.importance.truth import TRUTH
from boneage_jax.settings import did_you_mean

METHODS: dict[str, Method] = {}
"""Methods by name, in the order of tables and pages."""


def register(method: Method) -> None:
    """Adds a method. Raises `ValueError` for a name that is taken, or differs from a taken one by signs alone."""
    if slug(method.name) in ("", slug(TRUTH), *(one.slug for one in METHODS.values())):
        raise ValueError(f"found the name {method.name!r}, expected letters, and none of {[TRUTH, *METHODS]}")
    METHODS[method.name] = method


for _method in (
    masking.OCCLUSION,
    masking.SHAPLEY,
    gradients.INTEGRATED_GRADIENTS,
    gradients.SMOOTH_GRAD,
    gradients.GRAD_CAM,
):
    register(_method)


def named(name: str) -> Method:
    """Returns the method of a name, as in `Shapley values` or `shapley-values`. Raises `UserError` for others."""
    for method in METHODS.values():
        if slug(name) == method.slug:
            return method
    slugs = [method.slug for method in METHODS.values()]
    raise UserError(
        f"attribution method: found {name!r}, expected one of {', '.join(slugs)}{did_you_mean(slug(name), slugs)}"
    )


def chosen(names: Sequence[str] = ()) -> tuple[Method, ...]:
    """Returns the methods of some names, each once and in the order of `METHODS`; all of them for no names."""
    wanted = {named(name).name for name in names} or set(METHODS)
    return tuple(method for name, method in METHODS.items() if name in wanted)
