"""Kalshi's WebSocket on our port: a process of its own, with a replica of its own.

The process that serves HTTP answers an upgrade (handshake.py) and hands the connection over (doorway.py);
that of the WebSocket server (run.py, server.py) does the rest. It starts with the first client.
"""
