"""The recipe, the loop, the optimizer and the checkpoints."""
