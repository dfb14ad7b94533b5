"""The feed in a NATS JetStream: its format, and the line by which a replica follows it. docs/bridge.md."""
