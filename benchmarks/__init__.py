"""Measurements, each compared with a named reference in the same run: ``python -m benchmarks [NAME]``."""
