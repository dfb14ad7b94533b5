"""The shell around the pure core: a clock, a socket, signals."""

import asyncio
import signal
import time

import structlog
from aiohttp import web

from markets.errors import StartupError

from . import templates
from .auth import load_or_create
from .exchange import Exchange
from .limits import Limits
from .options import Options
from .rest import Api
from .wire import Request

HOST = "127.0.0.1"
TICK_S = 0.1
"""How often the exchange moves on by itself."""

log = structlog.get_logger(__name__)


def now_ms() -> int:
    """Return the wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000


def build(options: Options) -> Api:
    """Make the exchange and its API.

    Raises:
        StartupError: catalogue, fault file or keys cannot be used.
    """
    keys = load_or_create(options.keys)
    exchange = Exchange(templates.load(options.catalogue), options.markets, options.seed, now_ms())
    return Api(exchange, keys, None if options.tier == "none" else Limits(options.tier))


def application(api: Api) -> web.Application:
    """Return the aiohttp application: everything goes to the core."""

    async def serve(request: web.Request) -> web.StreamResponse:
        answer = api.handle(
            Request(
                method=request.method,
                path=request.rel_url.raw_path,
                query=tuple(request.rel_url.query.items()),
                headers={name.lower(): value for name, value in request.headers.items()},
                body=await request.read() if request.can_read_body else b"",
                address=request.remote or "",
            ),
            now_ms(),
        )
        return web.Response(status=answer.status, body=answer.body, headers=dict(answer.headers))

    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{tail:.*}", serve)
    return app


async def _tick(api: Api) -> None:
    while True:
        api.exchange.advance(now_ms())
        await asyncio.sleep(TICK_S)


async def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        StartupError: the port is taken, or what `build` raises.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    api = build(options)
    runner = web.AppRunner(application(api), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, HOST, options.port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        reason = error.strerror
        raise StartupError(
            f"port {options.port} of {HOST} cannot be used ({reason}): stop what uses it or choose --port"
        ) from error
    port = runner.addresses[0][1]
    ticker = asyncio.create_task(_tick(api))
    url = f"http://{HOST}:{port}/trade-api/v2"
    log.info("simulator serves", url=url, markets=len(api.exchange.markets), tier=options.tier)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({ticker, stopped}, return_when=asyncio.FIRST_COMPLETED)
    ticker.cancel()
    await runner.cleanup()
    if not stopped.done():
        stopped.cancel()
        await ticker  # the exchange itself failed: let the error out
    log.info("simulator stopped")
