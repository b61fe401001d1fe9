"""Faults found, costs predicted and records looked at before a GPU is touched."""
