"""Measured promises: `python -m benchmarks [--only NAME]` writes what it measured to benchmarks/RESULTS.md."""
