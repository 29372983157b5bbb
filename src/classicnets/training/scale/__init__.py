"""Several processes, one batch."""
