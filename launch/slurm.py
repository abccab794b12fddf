"""Submits a job to Slurm: it saves and goes back to the queue when it is preempted or its time is over.

python -m launch.slurm launch/jobs/m46.toml --dry-run
python -m launch.slurm launch/jobs/m46.toml
"""

import sys

from boneage_jax.launching.launch import main
from boneage_jax.launching.slurm import run, show

if __name__ == "__main__":
    sys.exit(main(__doc__, run, show))
