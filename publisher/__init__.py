"""The publisher: the only process that calls Kalshi, and the one writer of the state that all others copy."""
