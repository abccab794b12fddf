"""What a run is and how it is used: its folder, checkpoints, state, bundle and inference."""
