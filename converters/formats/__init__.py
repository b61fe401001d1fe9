"""Readers of generic source formats, one file each."""
