"""Jobs: what a run and an evaluation have in common: states, attempts, and the events that tell of them."""
