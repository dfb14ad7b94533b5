"""Measurements, each beside a named reference of the same run: ``python -m benchmarks [NAME]``."""
