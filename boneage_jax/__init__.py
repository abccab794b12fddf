"""boneage-jax: skeletal maturity, in months, from a child's hand radiograph.

    import boneage_jax as ba
    model = ba.load()
    model.predict("hand.png", sex="F")

`ba.load` opens trained networks, `ba.open_dataset` a built dataset, `ba.phantom` renders a hand whose truth is
known. They lie in `boneage_jax.api` and are imported, JAX with them, when they are first used.

The package follows the way of one radiograph: `data` reads it, `models` and `tasks` say what is learnt from it,
`train` learns it, `hand` applies what was learnt and `analysis` says how well that went. `phantoms` renders hands whose
truth is known exactly. `cli` is the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boneage_jax.api.public import (
        BoneAgeModel,
        Example,
        LabelledImages,
        Labels,
        PhantomRadiograph,
        Prediction,
        RegisteredHand,
        UserError,
        load,
        open_dataset,
        phantom,
    )

__version__ = "0.1.0"

NOT_A_MEDICAL_DEVICE = (
    "Research software, not a medical device: not validated for, and not to be used in, the care of any patient."
)

__all__ = [
    "NOT_A_MEDICAL_DEVICE",
    "BoneAgeModel",
    "Example",
    "LabelledImages",
    "Labels",
    "PhantomRadiograph",
    "Prediction",
    "RegisteredHand",
    "UserError",
    "__version__",
    "load",
    "open_dataset",
    "phantom",
]


if not TYPE_CHECKING:  # for a type checker every name would be there

    def __getattr__(name: str) -> Any:
        """Returns a name of the Python API, which is imported with the first of them; see PEP 562."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from boneage_jax.api import startup

        startup.prepare()
        from boneage_jax.api import public

        return getattr(public, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
