"""The protocol in code: docs/protocol.md. No sockets, threads or clocks."""
