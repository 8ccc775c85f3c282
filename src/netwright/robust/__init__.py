"""Attacks: what the worst small change of a row does to a prediction. Probes over any model; nothing here trains."""
