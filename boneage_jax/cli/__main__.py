"""`python -m boneage_jax.cli`: the command where it is not installed as a script."""

import sys

from boneage_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
