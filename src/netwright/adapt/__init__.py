"""Anybody's module as one of ours: what it is called with, what it gives, and what its rows are."""
