"""Estimators that answer at every step of a sequence, or beyond its end."""
