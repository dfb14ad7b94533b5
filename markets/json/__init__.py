"""Kalshi's JSON, read and written in one place."""
