"""Checks: probes of the data, of an untrained network, and of a trained one."""
