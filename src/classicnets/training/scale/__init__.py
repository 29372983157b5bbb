"""Using the hardware: several processes for one batch, and the number of CPU threads."""
