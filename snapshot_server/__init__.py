"""The snapshot server: answers over HTTP and REQ/REP from memory, never from Kalshi. See docs/http-api.md."""
