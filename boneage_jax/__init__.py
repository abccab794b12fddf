"""boneage-jax: skeletal maturity, in months, from a child's hand radiograph.

The package follows the way of one radiograph: `data` reads it, `models` and `tasks` say what is learnt from it,
`train` learns it, `hand` applies what was learnt and `analysis` says how well that went. `phantom` renders hands whose
truth is known exactly. `cli` is the door.
"""

__version__ = "0.1.0"

NOT_A_MEDICAL_DEVICE = (
    "Research software, not a medical device: not validated for, and not to be used in, the care of any patient."
)
