"""The trader: acts on opportunities, within limits and through restarts.

Pure inside: `session` (turns what arrives into inputs and has decisions carried out), `engine` (decides),
`risk` (may refuse), `ledger` (keeps the books), `brokers` (carry orders out). At the edge: `worker` (the
engine's thread), `journal` (SQLite), `run` (the process).
"""
