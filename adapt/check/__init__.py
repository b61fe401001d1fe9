"""Faults found and costs predicted before a GPU is touched: one file per group of checks, each from rows to faults.

``adapt/verbs/check.py`` puts them together.
"""
