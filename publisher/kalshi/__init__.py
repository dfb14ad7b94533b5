"""Kalshi's API as a client sees it: hosts, signatures, token budget, requests."""
