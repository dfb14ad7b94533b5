"""The HTTP front: a process that answers while the snapshot server computes.

With each edition the snapshot server sends it the answers to repeated requests, and what has changed of the
parts that answers about single markets are made of; ten times a second, the state of the feed. If it has no
answer to a request, it passes the connection to the snapshot server and gets it back once the request is
answered. The two show the same edition: each one is sent to the front first, and the snapshot server shows it
once the front has it.
"""
