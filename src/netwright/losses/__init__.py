"""Losses that own their link (what an output means), and the metrics that networks and classic methods share."""
