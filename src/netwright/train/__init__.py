"""The engine: one visible loop, objectives, optimisers, hooks, checkpoints."""
