"""The HTTP front: a process that answers repeated requests while the snapshot server computes.

It knows nothing about markets. With each edition the snapshot server sends it the answers to recent requests,
and ten times a second the state of the feed. If it has no answer to a request, it passes the connection to
the snapshot server and gets it back once the request is answered. The two show the same edition: each one is
sent to the front first, and the snapshot server shows it once the front has it.
"""
