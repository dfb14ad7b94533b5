"""Which streams an update wakes, and how much waits for a client that does not read."""

import asyncio
import socket
import threading

import pytest
from flask import Flask

from bus.process.lifecycle import Stop
from bus.process.web import serve
from tests.support import eventually, free_ports
from ui.front import Front
from ui.hub import PageUpdate, UpdateHub


def happening(number: int, **changes: object) -> PageUpdate:
    fields: dict[str, object] = {"everything": False, "overview": False}
    return PageUpdate(f"1:{number}", "{}", **(fields | changes))  # type: ignore[arg-type]


def test_a_slow_client_gets_only_the_latest_event() -> None:
    async def scene() -> None:
        hub = UpdateHub()
        client = hub.join()
        assert client is not None
        for number in range(1_000):
            hub.publish(happening(number, overview=True))
        await asyncio.sleep(0)

        found = client.take()
        assert found is not None
        assert found.id == "1:999"
        assert client.take() is None

    asyncio.run(scene())


def test_clients_are_woken_only_by_changes_their_page_shows() -> None:
    async def scene() -> None:
        hub = UpdateHub()
        overview, market, event = hub.join(), hub.join(ticker="A"), hub.join(event="E")
        assert overview is not None
        assert market is not None
        assert event is not None

        async def woken(happened: PageUpdate) -> list[bool]:
            hub.publish(happened)
            await asyncio.sleep(0)
            return [client.take() is not None for client in (overview, market, event)]

        assert await woken(happening(1, overview=True)) == [True, False, False]
        assert await woken(happening(2, markets=frozenset({"A"}), events=frozenset({"E"}))) == [
            False,
            True,
            True,
        ]
        assert await woken(happening(3, markets=frozenset({"B"}), events=frozenset({"F"}))) == [False] * 3
        assert await woken(happening(4, everything=True)) == [True] * 3

    asyncio.run(scene())


def test_a_new_client_gets_the_latest_event_at_once_and_excess_clients_are_refused() -> None:
    async def scene() -> None:
        hub = UpdateHub(max_streams=1)
        hub.publish(happening(7))
        first = hub.join(ticker="A")
        assert first is not None
        found = first.take()
        assert found is not None
        assert found.encode() == b"id: 1:7\nevent: update\ndata: {}\n\n"
        assert hub.join() is None

        hub.leave(first)
        assert hub.join() is not None
        assert len(hub) == 1

    asyncio.run(scene())


def test_closing_ends_every_client_and_admits_no_more() -> None:
    async def scene() -> None:
        hub = UpdateHub()
        client = hub.join()
        assert client is not None
        hub.close()
        await asyncio.wait_for(client.ready.wait(), 5)
        assert client.gone
        assert hub.join() is None

    asyncio.run(scene())


def test_publishing_while_the_event_loop_closes_is_fine() -> None:
    class Closing(asyncio.SelectorEventLoop):
        """Closes between the check and the use."""

        looked_at = 0

        def is_closed(self) -> bool:
            self.looked_at += 1
            return self.looked_at > 1 and super().is_closed()

    async def scene() -> UpdateHub:
        hub = UpdateHub()
        assert hub.join() is not None
        return hub

    loop = Closing()
    hub = loop.run_until_complete(scene())
    loop.close()
    loop.looked_at = 0

    hub.publish(happening(1, overview=True))

    assert loop.looked_at == 1


def test_publishing_without_clients_is_fine() -> None:
    hub = UpdateHub()
    hub.publish(happening(1))
    hub.close()


@pytest.mark.slow
def test_a_client_that_never_reads_is_disconnected_and_others_do_not_notice() -> None:
    """Over real sockets: their buffers and one update bound what waits for it; then it is closed."""
    hub, stop, (port,) = UpdateHub(), Stop(), free_ports(1)
    front = Front(Flask("ui"), hub, send_timeout_s=0.5)
    heard: list[int] = []
    failed = [True]

    def connected(buffer: int) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client

    def gone() -> bool:
        """Send more than the sockets' buffers hold; return whether the client that never reads is gone."""
        hub.publish(PageUpdate("more", "x" * 1_000_000))
        return len(hub) == 1

    def is_up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def read(client: socket.socket) -> None:
        with client:
            while data := client.recv(1_000_000):
                heard.append(len(data))

    def clients() -> None:
        try:
            eventually(is_up)
            reader = threading.Thread(target=read, args=(connected(1_000_000),))
            reader.start()
            stuck = connected(4_096)
            eventually(lambda: len(hub) == 2)
            eventually(gone)
            before = sum(heard)
            hub.publish(PageUpdate("last", "x" * 1_000_000))
            eventually(lambda: sum(heard) >= before + 1_000_000)
            stuck.close()
            failed.clear()
        finally:
            stop.set()
            hub.close()
        reader.join()

    acting = threading.Thread(target=clients)
    acting.start()
    try:
        serve(front, port, "KALSHI_BUS_UI_PORT", stop)
    finally:
        acting.join()
        stop.close()
    assert not failed
