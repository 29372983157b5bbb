"""One step, one epoch: the loop, its state, what it minimises and how it moves."""
