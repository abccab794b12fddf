"""Runs the processes of a job on this machine.

python -m launch.local launch/jobs/tiny.toml --dry-run
python -m launch.local launch/jobs/tiny.toml
"""

import sys

from boneage_jax.launching.launch import main
from boneage_jax.launching.local import run, show

if __name__ == "__main__":
    sys.exit(main(__doc__, run, show))
