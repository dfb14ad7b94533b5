"""A simulated exchange behind a real port, in a thread of this process: its books can be moved by hand."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import requests
from aiohttp import web

from simulator.front.api import Api
from simulator.options import SimulatorOptions
from simulator.server import application, build

T = TypeVar("T")


class Served:
    """Attributes: port; api: the exchange's own, of its thread: see `does`."""

    def __init__(self, api: Api, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.api = api
        self.port = port
        self.root = f"http://127.0.0.1:{port}"
        self._loop = loop

    def does(self, work: Callable[[Api], T]) -> T:
        """Do something with the exchange, between two requests."""

        async def now() -> T:
            return work(self.api)

        return asyncio.run_coroutine_threadsafe(now(), self._loop).result(10)

    def local(self, path: str, **members: Any) -> Any:
        answer = requests.post(self.root + path, json=members, timeout=5)
        assert answer.ok, answer.text
        return answer.json()

    def resting(self) -> list[str]:
        """Client order ids of what rests of the account, in the exchange's own books."""
        books = requests.get(f"{self.root}/sim/accounts", timeout=5).json()
        return [order["client_order_id"] for order in books["resting_orders"] if order["account"] == 1]


@contextmanager
def serve(
    keys: Path, tier: str = "none", markets: int = 150, cash_e6: int = 10_000_000_000
) -> Iterator[Served]:
    """Serve an exchange whose prices stand still."""
    options = SimulatorOptions(0, markets, 3, None, None, tier, keys, cash_e6=cash_e6)
    api, _ = build(options)
    loop = asyncio.new_event_loop()
    started: list[int] = []
    ready = threading.Event()

    async def begin() -> web.AppRunner:
        runner = web.AppRunner(application(api), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        started.append(runner.addresses[0][1])
        return runner

    def live() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(begin())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=live, name="exchange")
    thread.start()
    assert ready.wait(30)
    served = Served(api, started[0], loop)
    served.local("/sim/faults", settings={"pace": 0, "rivals": False, "mispricings": False, "bursts": False})
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
