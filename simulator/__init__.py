"""A simulated exchange that speaks Kalshi's Trade API v2, made from recorded payloads.

Nothing in it talks to Kalshi. The core (`exchange`, `rest`) is pure: time and randomness are passed in;
only `server` reads the clock and owns a socket.
"""
