"""A run: its folder, its checkpoints, what it must find again, and the job that fills it."""
