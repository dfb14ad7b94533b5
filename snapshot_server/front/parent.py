"""The snapshot server's side of its front: what the front is told, and the connections that come from it.

Threads: `run` begins the front, and again when it has ended, tells it all parts of an edition (parts.py), ten
times a second how the feed is, and what is asked again as soon as it is; `show`, in the thread that makes
editions, tells it each edition; the rest is the event loop's.
"""

import asyncio
import os
import select
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog

from bus.clock import Clock
from bus.process.http_requests import BadRequest, next_head
from bus.process.http_server import Server
from bus.process.lifecycle import Stop
from bus.process.programs import command_of, environment_of, wait_or_kill
from bus.protocol.memory import Keeping
from bus.threads import Owner
from snapshot_server.asgi import App
from snapshot_server.body import Prepared
from snapshot_server.edition import Edition
from snapshot_server.http import Large, respond
from snapshot_server.shared import Pause
from snapshot_server.view import View

from . import parts, templates
from .asked import Asked, Hot
from .messages import (
    ACK,
    MAX_PACKET,
    Complete,
    Dictionary,
    News,
    Parts,
    Passed,
    Pieces,
    Pulse,
    Template,
    frame,
    packet,
    read_packet,
)
from .parts import Slice

log = structlog.get_logger()

PULSE_S: Final = 0.1
"""How often the front is told how the feed is: `/health` may be behind in that by so much."""

MAX_AHEAD: Final = 64
"""The most requests that an edition is prepared for: those asked last."""

MAX_AHEAD_S: Final = 0.06
"""The most time spent on that before the edition is shown, and at a time on requests that are new."""

MAX_MAKES_S: Final = 2 * MAX_AHEAD_S
"""A body that took longer is not made for the front: the edition would wait."""

MAX_BYTES: Final = 4 * 1_048_576
"""The largest body the front is given; they are given anew with each edition."""

MAX_TOLD: Final = 64 * 1_048_576
"""The most the front is given with one edition."""

MAX_TELLS_S: Final = 10.0
"""How long an edition waits while the front is told what it changed: tenths of a second if that is all of
130,000 markets. A front that takes longer counts as broken."""

FULL_S: Final = 0.05
"""How long connections of the front wait for places before these are counted again."""

ACK_S: Final = 2.0
"""How long an edition waits for the front, which then counts as broken."""

BEGINS_S: Final = 30.0
"""How long the front may take to begin."""

AGAIN_S: Final = 0.5
AGAIN_MOST_S: Final = 10.0
"""The least and the most time until another front is begun; longer each time, as long as none lives for the
latter."""

STOPS_S: Final = 2.0


class Link(msgspec.Struct):
    """A front that runs, and our ends of the socket pairs.

    Attributes:
        missing: slices of the parts that it was not told yet; None once it has all.
        unpacks: whether it can read packed markets.
        pulsed_s: when it was last told how the feed is.
    """

    process: subprocess.Popen[bytes]
    stream: socket.socket
    packets: socket.socket
    missing: Iterator[Slice] | None = None
    unpacks: bool = False
    pulsed_s: float = 0.0


class Front:
    """The front of `app`.

    Args:
        app: gives the bodies that are there already.
        view: returns what to answer from.
        shows: told an edition that the front shows already, for the event loop's thread to answer from.
        requests: counts answers by (route, status).
        pause: lets other threads have the interpreter.
        now_ms: gives the time.
    """

    def __init__(
        self,
        app: App,
        view: Callable[[], View],
        shows: Callable[[Edition], None],
        requests: Counter[tuple[str, int]],
        pause: Pause,
        now_ms: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._app = app
        self._view = view
        self._shows = shows
        self._requests = requests
        self._pause = pause
        self._now_ms = now_ms
        self._clock = clock
        self._lock = threading.Lock()
        """Of the stream, and of what the front has been told."""
        self._link: Link | None = None
        self._latest: tuple[int, Edition | None] = (0, None)
        self._asked = Asked()
        self._repeated = threading.Event()
        """A request is a repeated one from now on."""
        self._told = 0
        """How many bytes the front has been given with the latest edition."""
        self._packets: socket.socket | None = None
        """Our end of those of the front that has the listening socket."""
        self._pieces = Pieces()
        self._server: Server | None = None
        self._listener = -1
        self._loop: asyncio.AbstractEventLoop
        self._shown = 0
        """The edition the event loop answers from at least."""
        self._serving = threading.Event()
        self._owner = Owner("the connections of the HTTP front")

    # -- the event loop's

    def begun(self, server: Server, listener: socket.socket) -> None:
        """Take the server whose front this is."""
        self._owner.check()
        self._server, self._listener = server, listener.fileno()
        self._loop = asyncio.get_running_loop()
        self._serving.set()

    def _attach(self, packets: socket.socket) -> None:
        """From now on the front has the listening socket."""
        assert self._server is not None

        def give_back(descriptor: int) -> bool:
            try:
                socket.send_fds(packets, [_NOTHING], [descriptor])
            except OSError:  # too many are under way, or the front has gone
                return False
            return True

        self._packets, self._pieces = packets, Pieces()
        self._loop.add_reader(packets, self._hear, packets)
        self._server.accept(wanted=False)
        self._server.give_back = give_back

    def _hear(self, packets: socket.socket) -> None:
        """Take connections that the front passes on, and what it reports."""
        assert self._server is not None
        while True:
            if self._server.full:  # further ones wait in the socket, as they would in the listening one
                self._loop.remove_reader(packets)
                self._loop.call_later(FULL_S, self._loop.add_reader, packets, self._hear, packets)
                return
            try:
                body, descriptors, _, _ = socket.recv_fds(packets, MAX_PACKET, 1)
            except BlockingIOError:
                return
            except OSError:
                body, descriptors = b"", []
            if not body:
                self._loop.remove_reader(packets)
                packets.close()
                if self._packets is packets:  # else another front has begun
                    self._packets = self._server.give_back = None
                    self._server.accept(wanted=True)
                return
            passed = read_packet(body)
            for route, count in passed.answered.items():
                self._requests[route, 200] += count
            now_s = self._steady_s()
            for request in passed.asked:
                self._asked.answered(request, now_s)
            data = self._pieces.add(passed)
            for descriptor in descriptors:
                connection = socket.socket(fileno=descriptor)
                if data is None:
                    connection.close()
                else:
                    self._adopt(self._server, connection, data, passed.edition)

    def _adopt(self, server: Server, connection: socket.socket, data: bytes, shown: int) -> None:
        number, edition = self._latest
        if self._shown < shown == number and edition is not None:
            self._shown = number
            self._shows(edition)
        repeated = False
        with suppress(BadRequest):
            found = next_head(data)
            now_s = self._steady_s()
            repeated = found is not None and found[0].startswith(b"GET ") and self._asked.ask(found[0], now_s)
        server.adopt(connection, data)
        if repeated:  # now it is told what is made for this request
            self._repeated.set()

    # -- the thread that makes editions

    def show(self, edition: Edition) -> None:
        """Have the front show an edition. Afterwards it may be shown here, too."""
        with self._lock:
            latest, previous = self._latest
            number = latest + 1
            self._latest = number, edition
            self._told = 0
            if self._link is None:
                return
            try:
                if previous is not None:
                    self._tell_changed(self._link, number, edition, previous)
                self._tell_edition(self._link.stream, number, edition)
            except OSError as error:
                self._drop(error)
            except Exception as error:  # it has not what it should, and must not answer
                log.exception("front.not_told")
                self._drop(error)

    def _tell_changed(self, link: Link, number: int, edition: Edition, previous: Edition) -> None:
        begun_s = self._steady_s()
        for kind, changed in parts.changed(edition, previous):
            self._tell_parts(link, number, edition, kind, changed)
            self._pulse_in_time(link)
            self._pause()
            if self._steady_s() - begun_s > MAX_TELLS_S:
                raise TimeoutError("it listens too slowly")

    def _tell_edition(self, stream: socket.socket, number: int, edition: Edition) -> None:
        left_s = MAX_AHEAD_S
        for index, (request, known) in enumerate(self._asked.hot(self._steady_s())):
            if index < MAX_AHEAD and known.took_s <= left_s:
                left_s -= known.took_s
                self._tell_template(stream, request, known, number, edition)
            elif known.took_s > MAX_AHEAD_S:
                known.took_s /= 2  # it may have been slow for once, and is tried again
        self._show(stream, number, edition)

    # -- the thread of `run`

    def run(self, stop: Stop) -> None:
        """Have a front until `stop`."""
        try:
            while not stop.is_set() and not self._serving.wait(PULSE_S):
                pass
            begun_s, pause_s = -AGAIN_MOST_S, AGAIN_S
            while not stop.is_set():
                self._repeated.wait(PULSE_S)
                self._repeated.clear()
                link = self._link
                if link is None:
                    if self._latest[1] is None:
                        continue
                    if self._steady_s() - begun_s >= AGAIN_MOST_S:
                        pause_s = AGAIN_S
                    else:
                        stop.wait(pause_s)
                        pause_s = min(2 * pause_s, AGAIN_MOST_S)
                    begun_s = self._steady_s()
                    self._begin(stop)
                    continue
                with self._lock:
                    since_s, in_vain = self._steady_s(), False
                    try:
                        self._pulse_in_time(link)
                        in_vain = self._tell_new(link.stream)
                    except OSError as error:
                        self._drop(error)
                    held_s = self._steady_s() - since_s
                # An edition gets its turn, however much is new.
                stop.wait(PULSE_S if in_vain else min(held_s, PULSE_S))
                self._tell_missing(link)
        finally:
            with self._lock:
                if self._link is not None:
                    self._end(self._link)
                    self._link = None

    def _begin(self, stop: Stop) -> None:
        """Start a front, and wait until it serves."""
        try:
            stream, their_stream = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                packets, their_packets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            except OSError:
                stream.close()
                their_stream.close()
                raise
        except OSError as error:
            log.warning("front.not_begun", error=str(error))
            return
        packets.setblocking(False)
        with their_stream, their_packets:
            descriptors = (self._listener, their_stream.fileno(), their_packets.fileno())
            command = command_of("snapshot_server.front", str(os.getpid()), *map(str, descriptors))
            try:
                process = subprocess.Popen(command, pass_fds=descriptors, env=environment_of(os.environ))
            except OSError as error:
                log.warning("front.not_begun", error=str(error))
                stream.close()
                packets.close()
                return
        link = Link(process, stream, packets)
        stream.settimeout(ACK_S)
        number, edition = self._latest
        assert edition is not None
        try:
            _send(stream, self._pulse())
            _send(stream, templates.shown(number, edition))
            poller = select.poll()  # `select` knows no descriptor above 1,023
            for descriptor in (stream.fileno(), stop.fileno()):
                poller.register(descriptor, select.POLLIN)
            ready = [descriptor for descriptor, _ in poller.poll(1000 * BEGINS_S)]
            if stream.fileno() not in ready or stop.is_set():
                raise TimeoutError("it did not begin in time")
            _await_ack(stream)
            with self._lock:
                latest, edition = self._latest
                if latest != number and edition is not None:
                    self._show(stream, latest, edition)
                link.missing = None if edition is None else parts.everything(edition)
                self._link = link
        except OSError as error:
            if not stop.is_set():
                log.warning("front.not_begun", error=str(error))
            packets.close()
            self._end(link)
            return
        self._asked.all_new()
        with suppress(RuntimeError):  # the event loop has just ended
            self._loop.call_soon_threadsafe(self._attach, packets)
        log.info("front.begun", pid=process.pid)

    def _pulse(self) -> Pulse:
        view = self._view()
        processes = None if view.processes is None else dict(view.processes)
        return Pulse(view.replica, view.heartbeat, processes, view.stale_after_ms)

    def _tell_new(self, stream: socket.socket) -> bool:
        """Tell the answers to requests that are new; return whether there were some, but no answers."""
        number, edition = self._latest
        left_s = MAX_AHEAD_S  # an edition must not wait for long
        told: list[bool] = []
        while left_s > 0 and edition is not None and (new := self._asked.new()) is not None:
            request, known = new
            told.append(self._tell_template(stream, request, known, number, edition))
            left_s -= known.took_s
        return bool(told) and not any(told)

    def _tell_missing(self, link: Link) -> None:
        """Tell a front that is new what all markets are, for as long as it can do without a pulse."""
        begun_s = self._steady_s()
        while link.missing is not None and self._steady_s() - begun_s < PULSE_S:
            with self._lock:
                if self._link is not link:
                    return
                number, edition = self._latest
                assert edition is not None
                try:
                    found = next(link.missing, None)
                    if found is None:
                        link.missing = None
                        _send(link.stream, Complete())
                    else:
                        # Later editions may have others under these keys, as they have told.
                        kind, keys = found
                        held = parts.held(edition)[kind]
                        still = {key: held[key] for key in keys if key in held}
                        self._tell_parts(link, number, edition, kind, still)
                except OSError as error:
                    self._drop(error)
                    return
                except Exception as error:
                    log.exception("front.not_told")
                    self._drop(error)
                    return
            self._pause()

    # -- any thread that has the lock

    def _pulse_in_time(self, link: Link) -> None:
        """Tell how the feed is, if it is time to."""
        now_s = self._steady_s()
        if now_s - link.pulsed_s >= PULSE_S / 2:
            link.pulsed_s = now_s
            _send(link.stream, self._pulse())

    def _tell_parts(
        self, link: Link, number: int, edition: Edition, kind: str, changed: Mapping[str, Any]
    ) -> None:
        """Tell the front parts of an edition."""
        keeping = edition.state.keeping or Keeping()
        told = frame(Parts(number, kind, parts.encoded(kind, changed, keeping)))
        dictionary = None if link.unpacks else keeping.dictionary
        if dictionary is not None:  # looked up only now: any of them may have been packed just before
            link.unpacks = True
            _send(link.stream, Dictionary(dictionary))
        link.stream.sendall(told)

    def _show(self, stream: socket.socket, number: int, edition: Edition) -> None:
        _send(stream, self._pulse())
        _send(stream, templates.shown(number, edition))
        _await_ack(stream)

    def _tell_template(
        self, stream: socket.socket, request: bytes, known: Hot, number: int, edition: Edition
    ) -> bool:
        """Tell the front what an edition answers to a request; return False if it cannot be told."""
        started_s = self._steady_s()
        try:
            template = self._template(request, known, number, edition)
        except Exception:  # one question must not end the service for the others
            log.exception("front.no_template", request=request[:200])
            template = None
        if template is None:
            self._asked.forget(request)
        else:
            told = frame(template)
            if self._told + len(told) <= MAX_TOLD:
                self._told += len(told)
                stream.sendall(told)
        known.took_s = max(self._steady_s() - started_s, known.makes_s)
        return template is not None

    def _template(self, request: bytes, known: Hot, number: int, edition: Edition) -> Template | None:
        asked = templates.question(request)
        if asked is None:
            return None
        view = msgspec.structs.replace(self._view(), edition=edition)
        response = respond(asked, view, self._now_ms())
        if not templates.lasts(response):
            return None
        body = self._body(response.body, known) if isinstance(response.body, Large) else None
        template = templates.template(request, number, response, body)
        return template if template is not None and template.length <= MAX_BYTES else None

    def _body(self, large: Large, known: Hot) -> Prepared | None:
        """Return a body without its end, unless it takes long to make."""
        if large.small:
            return large.prepare(self._pause)
        kept = self._app.bodies.get(large.key, large.edition.number)
        if kept is not None:
            known.makes_s = kept.took_s
            if kept.edition is large.edition:
                return kept.body
        if known.makes_s > MAX_MAKES_S or (kept is not None and kept.body.length > MAX_BYTES):
            return None
        if not known.took_s and (kept is None or kept.slow):
            return None
        # Kept there, too: whoever then asks the snapshot server must not get an earlier one.
        made = self._app.make(large)
        known.makes_s = made.took_s
        return made.body

    def _steady_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def _drop(self, error: Exception) -> None:
        """Give up a front that does not listen. The event loop hears it by its end of the pair."""
        link, self._link = self._link, None
        if link is not None:
            log.warning("front.ended", error=str(error), code=link.process.poll())
            link.process.kill()
            self._end(link)

    def _end(self, link: Link) -> None:
        link.stream.close()
        wait_or_kill(link.process, STOPS_S)


def _send(stream: socket.socket, news: News) -> None:
    stream.sendall(frame(news))


def _await_ack(stream: socket.socket) -> None:
    if stream.recv(1) != ACK:
        raise ConnectionError("it has ended")


_NOTHING: Final = packet(Passed())
