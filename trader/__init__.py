"""The trader: acts on opportunities inside limits and through restarts. With play money, in this build.

Pure inside: `session` (what is said becomes inputs, and decisions are carried out), `engine` (decides),
`risk` (may refuse), `ledger` (counts), `brokers` (fill). At the edge: `worker` (the engine's thread),
`journal` (SQLite), `run` (the process).
"""
