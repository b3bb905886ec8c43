"""How `fit` runs: its data, its steps in pieces, its checkpoints, and its troubles."""
