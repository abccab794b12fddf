"""From one small description of a job to what a machine, Slurm, Kubernetes or a TPU slice is told to run."""
