"""Applies a job to Kubernetes as a JobSet, on TPU slices or GPU nodes.

python -m launch.gke launch/jobs/m46.toml --dry-run
python -m launch.gke launch/jobs/m46.toml
"""

import sys

from boneage_jax.launching.gke import run, show
from boneage_jax.launching.launch import main

if __name__ == "__main__":
    sys.exit(main(__doc__, run, show))
