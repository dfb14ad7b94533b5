"""Kalshi's API from a client's side: hosts, signatures, token budget, requests."""
