"""Scripts that start jobs: on this machine, under Slurm, on Kubernetes, on TPU virtual machines."""
