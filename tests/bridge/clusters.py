"""A cluster of servers to bridge to."""

from pathlib import Path

from tests.bridge.world import NatsServer
from tests.support import free_ports


def cluster(folder: Path) -> list[NatsServer]:
    """Start three servers that know each other."""
    ports, routes = free_ports(3), free_ports(3)
    known = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in routes)
    return [
        NatsServer(
            folder / f"n{number}",
            f'server_name: n{number}\njetstream: {{store_dir: "{folder}/n{number}/store"}}\n'
            f'cluster: {{name: c, listen: "127.0.0.1:{routes[number]}", routes: [{known}]}}\n',
            port=ports[number],
        )
        for number in range(3)
    ]
