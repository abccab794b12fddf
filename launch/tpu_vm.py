"""Makes a TPU slice, runs a job on all its workers, and makes another one when it is taken away.

python -m launch.tpu_vm launch/jobs/m46.toml --dry-run
python -m launch.tpu_vm launch/jobs/m46.toml
"""

import sys

from boneage_jax.launching.launch import main
from boneage_jax.launching.tpu_vm import run, show

if __name__ == "__main__":
    sys.exit(main(__doc__, run, show))
