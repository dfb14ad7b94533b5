"""Strangers at every socket that real processes bind: nothing gets in, nobody is harmed."""

import contextlib
import http.client
import random
import socket
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import zmq

from bus.ask import ask
from bus.sockets import MAX_FEED, make
from tests.bus.hostile import HOSTILE
from tests.bus.tape.recorded import Live, record_a_day
from tests.bus.world import START_MS, Publisher
from tests.support import Runner, eventually, free_ports

pytestmark = pytest.mark.e2e

Context = zmq.Context[Any]


def listening(pid: int) -> set[tuple[str, int]]:
    """Where a process and its children accept TCP connections."""
    root = psutil.Process(pid)
    found: set[tuple[str, int]] = set()
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {
                (one.laddr.ip, one.laddr.port)
                for one in process.net_connections("tcp")
                if one.status == psutil.CONN_LISTEN
            }
    return found


def heard(peer: socket.socket) -> bytes:
    """All that a connection has been sent so far."""
    peer.setblocking(False)
    parts = []
    with contextlib.suppress(OSError):
        while part := peer.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def heartbeat(subscriber: "zmq.Socket[bytes]") -> None:
    """Wait for a heartbeat that is sent from now on."""
    while subscriber.poll(0):
        subscriber.recv()
    assert subscriber.poll(30_000)


def test_no_socket_of_any_process_takes_anything_from_a_stranger(
    zmq_context: Context, runner: Runner, short_dir: Path
) -> None:
    """A replay stands for the publisher: the same sockets, and ready without an exchange."""
    path = short_dir / "day.mcap"
    live = Live(zmq_context, short_dir, Publisher(START_MS, random.Random(7), ("A-1-X", "B-1-X")))
    try:
        record_a_day(zmq_context, live, path)
    finally:
        live.close()
    names = ("feed", "state", "query", "trader_control", "trader_agents", "trader_events")
    at = dict(zip(names, free_ports(len(names)), strict=True))
    endpoints = {name: f"tcp://127.0.0.1:{port}" for name, port in at.items()}
    runner.env |= {f"KALSHI_BUS_{name.upper()}": endpoint for name, endpoint in endpoints.items()}
    owners = {
        runner.start("bus", "replay", str(path)): {at["feed"], at["state"]},
        runner.start("snapshot_server"): {at["query"], runner.snapshot_port},
        runner.start("trader"): {at["trader_control"], at["trader_agents"], at["trader_events"]},
        runner.start("ui"): {runner.ui_port},
    }
    for process, ports in owners.items():
        bound = {("127.0.0.1", port) for port in ports}
        eventually(lambda process=process, bound=bound: listening(process.pid) == bound, 30)  # type: ignore[misc]
    subscribers = [make(zmq_context, zmq.SUB, MAX_FEED) for _ in range(2)]
    held = []
    try:
        for subscriber, name in zip(subscribers, ("feed", "trader_events"), strict=True):
            subscriber.subscribe(b"")
            subscriber.connect(endpoints[name])
            heartbeat(subscriber)
        for what, sent in HOSTILE.items():
            for port in (*at.values(), runner.snapshot_port, runner.ui_port):
                peer = socket.create_connection(("127.0.0.1", port))
                peer.sendall(sent)
                held.append((what, port, peer))
        for subscriber in subscribers:
            heartbeat(subscriber)
            heartbeat(subscriber)
        for name in ("state", "query", "trader_control", "trader_agents"):
            assert ask(zmq_context, endpoints[name], {"op": "ping", "id": 1}, 10_000)["id"] == 1
        eventually(lambda: ask(zmq_context, endpoints["trader_control"], {"op": "status", "id": 1})["ok"])
        assert ask(zmq_context, endpoints["trader_control"], {"op": "status", "id": 1})["killed"] is None
        for port, page in ((runner.snapshot_port, "/health"), (runner.ui_port, "/api/status")):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", page)
            assert connection.getresponse().status in (200, 503)
            connection.close()
        for what, port, peer in held:
            if port in at.values():  # ours say who they are, in a greeting, and no more
                assert len(heard(peer)) <= 100, (what, port)
        for process in owners:
            assert process.popen.poll() is None
            assert not process.events("process.crashed")
    finally:
        for _, _, peer in held:
            peer.close()
        for subscriber in subscribers:
            subscriber.close()
