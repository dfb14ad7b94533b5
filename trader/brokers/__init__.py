"""Brokers carry orders out: `paper` fills them here, `gateway` sends them on. `base` is the interface."""
