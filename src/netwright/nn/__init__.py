"""The gallery of modules: only what `torch.nn` does not have, and composed networks."""
