"""One training run: its configuration, its folder, its checkpoints, its programs."""
