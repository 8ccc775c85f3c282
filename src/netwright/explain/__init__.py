"""Probes that say what a network uses, and how its answer moves with each input."""
