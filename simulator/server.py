"""The shell around the pure core: a clock, a socket, signals."""

import asyncio
import gc
import gzip
import logging
import os
import secrets
import signal
import struct
import time
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from socket import SO_LINGER, SOL_SOCKET
from typing import Any
from uuid import UUID

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from markets.errors import StartupError
from simulator.floor.exchange import Exchange
from simulator.front.api import Api
from simulator.front.auth import load_or_create
from simulator.front.limits import RequestLimits
from simulator.front.operations import ROUTES
from simulator.front.wire import ApiError, Request, error, internal_error
from simulator.front.ws import Hub, WsConnection
from simulator.persistence.lock import alone
from simulator.persistence.log import InputLog
from simulator.persistence.restart import Restart, save_in_a_child

from .front import faults
from .options import SimulatorOptions
from .universe import templates

HOST = "127.0.0.1"
SOCKET_PATH = "/trade-api/ws/v2"
GZIP_FROM = 1_400
"""Answers from this many bytes up are compressed if the client accepts it."""

TICK_S = 0.1
"""How often, at least, the exchange moves on by itself."""

MAX_LINE = 1 << 16
"""The longest request line: a thousand tickers in a query fit."""

MAX_BODY = 1 << 20
"""The longest body; what Kalshi accepts at most, and how it says so, is unknown."""

RESET = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that makes a connection end by a reset."""

_SILENT = logging.getLogger("simulator.http")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False  # bad HTTP of a client is answered with 400 and no news; our own errors go to `log`

SAVE_UNCHANGED_MS = 3_600_000
"""How often the exchange is saved if nothing has been asked since."""

PING_S = 10.0
"""How often a protocol ping with payload ``heartbeat`` goes out (contract 15)."""

log = structlog.get_logger(__name__)


def now_ms() -> int:
    """Return the wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Return a clock that is never set, ms."""
    return time.monotonic_ns() // 1_000_000


def _new_id() -> str:
    return str(UUID(bytes=secrets.token_bytes(16), version=4))


def build(options: SimulatorOptions) -> tuple[Api, InputLog]:
    """Make or restore the exchange, and its API; return the API with the log of what is asked.

    Raises:
        StartupError: catalogue, fault file or keys cannot be used.
    """
    keys = load_or_create(options.keys, options.accounts)
    recorded = templates.load(options.catalogue)

    def began(start_ms: int) -> Exchange:
        exchange = Exchange(recorded, options.markets, options.seed, start_ms, cash_e6=options.cash_e6)
        for pair in keys.values():
            exchange.open_account(pair.account)
        return exchange

    def again(exchange: Exchange, asked: Iterable[dict[str, Any]]) -> None:
        api = Api(exchange, ROUTES)
        for what in asked:
            api.again(what)
        exchange.matching.listeners.clear()  # the serving API has its own

    try:
        restart = Restart(options, recorded, now_ms(), began, again, _new_id)
    except OSError as error:
        raise StartupError(
            f"{error.filename or options.keys}: {error.strerror}; --keys must be a directory of yours"
        ) from error
    exchange = restart.exchange
    exchange.advance(now_ms())
    # Not by the wall clock: if that were set back, everything would be refused until it caught up.
    limits = None if options.tier == "none" else RequestLimits(options.tier, steady_ms)
    api = Api(exchange, ROUTES, keys, limits, restart.exchange_id)
    api.remember(restart.log.append)
    hub = api.hub = Hub(exchange, restart.exchange_id)
    hub.mangle = api.mangle
    if options.faults is not None:
        try:
            api.begin(faults.read(options.faults), again=not restart.new)
        except faults.BadFaults as error:
            raise StartupError(f"--faults {options.faults}: {error}") from error
        except ApiError as error:
            raise StartupError(
                f"{options.keys}: cannot be written to; --keys must be a directory of yours"
            ) from error
    return api, restart.log


async def _incoming(request: web.Request) -> Request:
    return Request(
        method=request.method,
        path=request.rel_url.raw_path,
        query=tuple(request.rel_url.query.items()),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.read() if request.can_read_body else b"",
        address=request.remote or "",
    )


def application(api: Api) -> web.Application:
    """Return the aiohttp application: everything goes to the core."""
    sockets: set[web.WebSocketResponse] = set()

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return await answer_to(request)
        except (ConnectionError, asyncio.IncompleteReadError):
            return web.Response(status=400)  # there is nobody to read it
        except (web.HTTPException, asyncio.CancelledError):
            raise
        except Exception as problem:  # noqa: BLE001 (reported)
            api.report(problem, f"{request.method} {request.path}")
            failed = internal_error()
            return web.Response(status=failed.status, body=failed.body, headers=dict(failed.headers))

    async def answer_to(request: web.Request) -> web.StreamResponse:
        try:
            incoming = await _incoming(request)
        except web.HTTPRequestEntityTooLarge:
            large = error(413, "request_too_large", "request too large")
            return web.Response(status=large.status, body=large.body, headers=dict(large.headers))
        if incoming.path == SOCKET_PATH:
            opened = api.upgrade(incoming, now_ms())
            if isinstance(opened, int):
                assert api.hub is not None
                return await _converse(request, api, api.hub, opened, sockets)
            answer = opened
        else:
            answer = api.handle(incoming, now_ms())
        if answer.copy is not None:
            copy_ms, copied = answer.copy
            asyncio.get_running_loop().call_later(copy_ms / 1000, lambda: copied(now_ms()))
        while answer.delay_ms:
            await asyncio.sleep(answer.delay_ms / 1000)
            answer = answer.later(now_ms()) if answer.later is not None else replace(answer, delay_ms=0)
        if answer.cut and request.transport is not None:
            request.transport.abort()
        body, headers = answer.body, dict(answer.headers)
        if api.gzip and len(body) >= GZIP_FROM and "gzip" in incoming.headers.get("accept-encoding", ""):
            body = await asyncio.to_thread(gzip.compress, body, 1, mtime=0)
            headers |= {"content-encoding": "gzip", "vary": "Accept-Encoding"}
        response = web.Response(status=answer.status, body=body, headers=headers)
        if answer.half or answer.doubled:
            await _spoil(request, response, body, half=answer.half)
        return response

    async def close_sockets(_app: web.Application) -> None:
        await asyncio.gather(*(socket.close(code=WSCloseCode.GOING_AWAY) for socket in tuple(sockets)))

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{tail:.*}", serve)
    app.on_shutdown.append(close_sockets)
    return app


async def _spoil(request: web.Request, response: web.Response, body: bytes, *, half: bool) -> None:
    """Send an answer twice, or half of it and then a reset."""
    head = f"HTTP/1.1 {response.status} {response.reason}\r\nContent-Length: {len(body)}\r\n".encode()
    head += b"".join(f"{name}: {value}\r\n".encode() for name, value in response.headers.items()) + b"\r\n"
    transport = request.transport
    if not half:
        await response.prepare(request)
        await response.write_eof()
        if transport is not None:
            transport.write(head + body)
    elif transport is not None:
        transport.write(head + body[: len(body) // 2])
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, RESET)
        transport.abort()


async def _converse(
    request: web.Request, api: Api, hub: Hub, account: int, sockets: set[web.WebSocketResponse]
) -> web.StreamResponse:
    """Serve one WebSocket connection until either side ends it."""
    socket = web.WebSocketResponse(max_msg_size=64 << 20, timeout=1.0)
    if not socket.can_prepare(request):
        return web.Response(status=400, text="Bad Request")
    await socket.prepare(request)
    sockets.add(socket)
    session = hub.connect(account)
    awake = asyncio.Event()
    session.wake = awake.set

    async def guarded(work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except ConnectionError:
            pass  # the reader is gone; the loop below ends by itself
        except Exception as problem:  # noqa: BLE001 (reported)
            api.report(problem, "websocket")
            await socket.close(code=WSCloseCode.INTERNAL_ERROR)

    tasks = [
        asyncio.create_task(guarded(_send(socket, session, awake))),
        asyncio.create_task(guarded(_ping(socket, session))),
    ]
    try:
        async for message in socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                hub.exchange.advance(now_ms())
                session.receive(message.data, now_ms())
    except Exception as problem:  # noqa: BLE001 (reported)
        api.report(problem, "websocket")
        await socket.close(code=WSCloseCode.INTERNAL_ERROR)
    finally:
        hub.disconnect(session)
        sockets.discard(socket)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return socket


async def _send(socket: web.WebSocketResponse, session: WsConnection, awake: asyncio.Event) -> None:
    while not socket.closed:
        while session.outgoing:
            # Not as a str: a fault may have put a byte that is not UTF-8 into it.
            frame = session.outgoing.popleft().encode("utf-8", "surrogateescape")
            await socket.send_frame(frame, WSMsgType.TEXT)
            session.hub.frames += 1
        if session.closing:
            await socket.close(code=WSCloseCode.GOING_AWAY)
            return
        awake.clear()
        await awake.wait()


async def _ping(socket: web.WebSocketResponse, session: WsConnection) -> None:
    while not socket.closed:
        await asyncio.sleep(PING_S)
        if not session.stalled:
            await socket.ping(b"heartbeat")


async def _tick(api: Api) -> None:
    while True:
        now = now_ms()
        try:
            api.exchange.advance(now)
        except Exception as problem:  # noqa: BLE001 (reported)
            # What failed is off the agenda; the exchange goes on without it.
            api.report(problem, "the exchange's own clock")
        due = api.exchange.next_ms()
        await asyncio.sleep(TICK_S if due is None else min(max((due - now) / 1000, 0.002), TICK_S))


async def _save(api: Api, inputs: InputLog, every_s: float) -> None:
    """Save the exchange now and then, once something was asked of it: a restart has less to catch up."""
    saved_ms = api.exchange.now_ms
    used = inputs.requests > 0 or not inputs.from_the_beginning()
    while True:
        await asyncio.sleep(every_s)
        used = used or inputs.requests > 0
        if not used or (not inputs.requests and api.exchange.now_ms - saved_ms < SAVE_UNCHANGED_MS):
            continue
        try:
            now = api.exchange.now_ms
            if await _saved(api, inputs):
                saved_ms = now
        except OSError as problem:
            log.warning("exchange not saved", error=str(problem))


async def _saved(api: Api, inputs: InputLog) -> bool:
    """Save the exchange; return whether it was."""
    pid, number = save_in_a_child(api.exchange, inputs)
    try:
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    except asyncio.CancelledError:
        os.kill(pid, signal.SIGKILL)  # the thread that waits for it would keep this process alive
        raise
    if status:
        log.error("exchange not saved", status=status)
        return False
    inputs.drop_before(number)
    return True


async def run(options: SimulatorOptions) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, the last unless it is ignored (nohup).

    Raises:
        StartupError: the port is taken, another simulator uses the directory, or as for `build`.
    """
    with alone(options.keys):
        await _serve(options)


async def _serve(options: SimulatorOptions) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    api, inputs = build(options)
    gc.collect()
    gc.freeze()  # the universe stays: collecting it over and over would only cost pauses
    runner = web.AppRunner(
        application(api), access_log=None, shutdown_timeout=0.5, logger=_SILENT, max_line_size=MAX_LINE
    )
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
    saver = asyncio.create_task(_save(api, inputs, options.save_s))
    url = f"http://{HOST}:{port}/trade-api/v2"
    log.info("simulator serves", url=url, markets=len(api.exchange.markets), tier=options.tier)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({ticker, stopped}, return_when=asyncio.FIRST_COMPLETED)
    ticker.cancel()
    saver.cancel()
    await runner.cleanup()
    if not stopped.done():
        stopped.cancel()
        await ticker  # the exchange itself failed: let the error out
    log.info("simulator stopped")
