"""The trader: acts on opportunities inside limits and through restarts. With play money, in this build.

Pure inside: `engine` (decides), `risk` (may refuse), `account` (counts), `brokers.paper` (fills), `watch`
(finds what is worth a look). At the edge: `journal` (SQLite), `worker` (the engine's thread), `run` (the
process).
"""
