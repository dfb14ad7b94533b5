"""The trader: acts on opportunities inside limits and through restarts. With play money, in this build.

Pure inside: `session` (turns what arrives into inputs and has decisions carried out), `engine` (decides),
`risk` (may refuse), `ledger` (keeps the books), `brokers` (fill). At the edge: `worker` (the engine's
thread), `journal` (SQLite), `run` (the process).
"""
