"""Learning rates by layer, and mixed precision without a GPU."""
