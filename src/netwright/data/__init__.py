"""Columns -> tensors in raw units, and the fronts that turn them into vectors inside the network."""
