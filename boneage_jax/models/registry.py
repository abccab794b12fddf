"""The architectures that `model.name` can name. A new one is a file beside this one, and a line below."""

from __future__ import annotations

from boneage_jax.errors import UserError
from boneage_jax.models import convnext, resnet, unet, vgg
from boneage_jax.models.architecture import Architecture
from boneage_jax.schema import Head
from boneage_jax.settings import did_you_mean

ARCHITECTURES: dict[str, Architecture] = {
    one.name: one
    for one in (
        vgg.ARCHITECTURE,
        resnet.ARCHITECTURE,
        convnext.ARCHITECTURE,
        unet.ARCHITECTURE,
    )
}


def named(name: str) -> Architecture:
    """Returns the architecture of a name. Raises `UserError` with the known names for others."""
    if name not in ARCHITECTURES:
        known = ", ".join(map(repr, ARCHITECTURES))
        raise UserError(f"model.name: found {name!r}, expected one of {known}{did_you_mean(name, ARCHITECTURES)}")
    return ARCHITECTURES[name]


def with_head(head: Head) -> list[str]:
    """Returns the names of the architectures that can end in a kind of output."""
    return [name for name, one in ARCHITECTURES.items() if head in one.heads]
