"""Stores the feed in a NATS JetStream, for replicas on other machines. docs/bridge.md."""
