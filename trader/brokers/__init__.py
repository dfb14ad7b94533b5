"""Brokers: what carries orders out. This build has the one that plays."""
