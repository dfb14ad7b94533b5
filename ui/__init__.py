"""The dashboard: pages, a JSON API and server-sent events from a replica of its own."""
