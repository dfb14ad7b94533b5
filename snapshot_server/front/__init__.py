"""The HTTP front: a process that answers again what was asked for before, while the snapshot server computes.

It knows nothing of markets. With each edition the snapshot server tells it the answers to what was asked in
the last seconds, and every tenth of a second how the feed is. A request that it has no answer for goes to the
snapshot server with its connection, which comes back once it is answered. No client sees the two disagree: an
edition is first told to the front, and shown by the snapshot server once the front has it.
"""
