"""The bus: protocol, sockets, replicas and what every process shares (settings, logs, lifecycle)."""
