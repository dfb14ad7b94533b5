"""Alerts: judges rules on the feed and the trader, and sends messages by the configured ways.

No other part sends anything outside. It imports only bus and markets.
"""
