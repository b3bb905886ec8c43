"""Per-example norms and clipped gradients, against each library's ordinary gradient."""
