"""From a config and a dataset to a run: mesh, state, step, loop, checkpoints."""
