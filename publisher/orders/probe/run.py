"""The probe's shell: keys, sockets, clock, kill file, the account's locks, and the report's files."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from bus.clock import Clock, Rng
from bus.process.lifecycle import Stop
from bus.process.locks import STACK, holder, private_dir, take_role
from bus.process.logs import redact
from bus.process.programs import to_type
from bus.process.settings import Settings
from bus.trading.killswitch import KillSwitch
from markets.errors import StartupError
from markets.units import format_count, format_time
from publisher.kalshi import faults
from publisher.kalshi.client import ExchangeError, Stopped
from publisher.kalshi.hosts import endpoints
from publisher.kalshi.signing import KeySource
from publisher.orders.budget import Budget
from publisher.orders.connection import Connection
from publisher.orders.fence import ROLE
from publisher.orders.steps import Limits, Reply, Request
from publisher.orders.terms import READ_SHARE, Terms, TermsSource

from . import report as reports
from .desk import Desk
from .questions import CATCH_MS, questions
from .talk import Ask, Frame, Halted, Hear, Hush, Listen, Pause, Step, Talk, Told, Unanswered
from .venue import Venue, find

T = TypeVar("T")

FOLDER: Final = "probe"
WATCHDOG: Final = "watchdog"
MOST_E6: Final = 20_000_000
"""Real orders together cost no more than this, unless more is allowed."""

CLOCK_OFF_S: Final = 2.0
OPEN_S: Final = 10.0
BUSY_TRIES: Final = 5
BODY_MOST: Final = 4_000
UNSAID: Final = "/api_keys"
"""Its answer names all keys of the account, so it appears in no report."""

EXIT_LEFT: Final = 1


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for. `most_e6` None: the default for the env."""

    only: tuple[str, ...] = ()
    market: str | None = None
    most_e6: int | None = None
    yes: bool = False


class Shell:
    """Carries out what a talk asks for. One thread.

    Args:
        halted: says why nothing more may be asked, None if it may.
        said: called with each request and its answer.
    """

    def __init__(
        self,
        settings: Settings,
        keys: KeySource,
        clock: Clock,
        terms: Terms,
        halted: Callable[[], str | None],
        said: Callable[[reports.Exchanged], None],
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._halted = halted
        self._said = said
        self._stopped = False
        self._ahead_ms = 0
        self._aged_ms = 0
        self._number = 0
        self._pause = threading.Event().wait  # nobody's stop: leftovers are cleaned up even after the stop
        limits = Limits(
            write_per_s=terms.write.refill_per_s,
            write_capacity=terms.write.capacity,
            read_per_s=terms.read.refill_per_s * READ_SHARE,
            read_capacity=terms.read.capacity * READ_SHARE,
        )
        self._budget = Budget(limits, self._steady_ms())
        place = endpoints(settings)
        self._connection = Connection(
            place.rest, keys, clock, self._check, lambda: self._ahead_ms - self._aged_ms
        )
        self._ears = Ears(place.websocket, keys, clock)

    def close(self) -> None:
        """Disconnect from the exchange."""
        self._ears.hush()
        self._connection.close()

    def drive(self, talk: Talk[T]) -> T:
        """Carry out a talk to its end, and return what it returns.

        It is told of a halt once, and may finish what it has begun.
        """
        try:
            step = next(talk)
            while True:
                step = self._next(talk, step)
        except StopIteration as end:
            result: T = end.value
            return result

    def _next(self, talk: Talk[T], step: Step) -> Step:
        why = None if self._stopped else self._halted()
        if why is not None:
            self._stopped = True
            return talk.throw(Halted(why))
        try:
            told = self._do(step)
        except Unanswered as error:
            return talk.throw(error)
        return talk.send(told)

    def _do(self, step: Step) -> Told:
        match step:
            case Ask():
                return self._ask(step)
            case Pause():
                self._pause(step.ms / 1000)
                return Told(self._now_ms())
            case Listen():
                frames = self._ears.listen(step, self._clock.now_ms() + self._ahead_ms)
                return Told(self._now_ms(), frames=frames)
            case Hear():
                return Told(self._now_ms(), frames=self._ears.hear(step))
            case Hush():
                self._ears.hush()
                return Told(self._now_ms())

    def _ask(self, step: Ask) -> Told:
        asked, urgency = step.asked, step.urgency
        for _ in range(BUSY_TRIES):
            while wait_ms := self._budget.wait_ms(urgency, asked.cost, asked.shard, self._steady_ms()):
                self._pause(wait_ms / 1000)
            self._budget.pay(urgency, asked.cost, asked.shard, self._steady_ms())
            self._number += 1
            request = Request(
                self._number,
                asked.what,
                asked.method,
                asked.path,
                asked.query,
                asked.body,
                urgency,
                asked.cost,
            )
            self._aged_ms = step.aged_ms
            self._connection.warm()
            reply = self._connection.exchange(request)
            offset_s = self._connection.clock_offset_s
            if offset_s is not None:
                self._ahead_ms = int(-offset_s * 1000) if abs(offset_s) > CLOCK_OFF_S else 0
            self._said(self._exchanged(request, reply, step.aged_ms))
            if reply.status != 429:
                break
            bucket = (
                self._budget.reads
                if urgency == "read"
                else self._budget.writes(asked.shard, self._steady_ms())
            )
            bucket.refused(self._steady_ms())
        return Told(self._now_ms(), reply)

    def _check(self, request: Request) -> str | None:
        """Say why a request must not leave: one that places something, once the kill file exists."""
        return "killed" if request.urgency in ("create", "renew") and self._halted() is not None else None

    def _exchanged(self, request: Request, reply: Reply, aged_ms: int) -> reports.Exchanged:
        query = "&".join(f"{name}={value}" for name, value in request.query)
        words = f"{request.method} {request.path}{'?' if query else ''}{query}"
        if aged_ms:
            words += f" (signed {aged_ms // 1000} s ago)"
        answer = "not shown" if request.path == UNSAID else reply.body[:BODY_MOST].decode(errors="replace")
        return reports.Exchanged(
            at=format_time(reply.signed_ms),
            request=words,
            sent=request.body.decode(errors="replace"),
            status=reply.status,
            answer=redact(answer if reply.status is not None else reply.trouble),
        )

    def _now_ms(self) -> int:
        return self._clock.now_ms() + self._ahead_ms

    def _steady_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000


class Ears:
    """A connection to the WebSocket for the duration of one question. One thread."""

    def __init__(self, url: str, keys: KeySource, clock: Clock) -> None:
        self._url = url
        self._keys = keys
        self._clock = clock
        self._open: ClientConnection | None = None

    def listen(self, step: Listen, now_ms: int) -> tuple[Frame, ...]:
        """Subscribe; return what came in addition to the answers.

        Raises:
            Unanswered: it is impossible to listen.
        """
        self.hush()
        key = self._keys.current()
        headers = {} if key is None else key.headers("GET", urlsplit(self._url).path, now_ms)
        proxy: Literal[True] | None = True if self._url.startswith("wss:") else None
        try:
            self._open = connect(
                self._url, additional_headers=headers, open_timeout=OPEN_S, close_timeout=1.0, proxy=proxy
            )
            command = {
                "id": 1,
                "cmd": "subscribe",
                "params": {"channels": list(step.channels), "market_tickers": [step.ticker]},
            }
            self._open.send(json.dumps(command))
        except (OSError, WebSocketException) as error:
            self.hush()
            raise Unanswered(
                f"the WebSocket: {faults.printable(f'{type(error).__name__}: {error}')}"
            ) from None
        found: list[Frame] = []
        for _ in step.channels:
            answered = self._collect(frozenset({"subscribed"}), int(OPEN_S * 1000))
            if not any(frame.get("type") == "subscribed" for frame in answered):
                raise Unanswered(f"the WebSocket did not subscribe to {', '.join(step.channels)}")
            found += answered
        if step.ms:
            found += self._collect(frozenset({"nothing more"}), step.ms)
        return tuple(found)

    def hear(self, step: Hear) -> tuple[Frame, ...]:
        """Return the frames that come.

        Raises:
            Unanswered: the connection broke.
        """
        return tuple(self._collect(step.kinds, step.ms))

    def hush(self) -> None:
        """Close it."""
        if self._open is not None:
            with contextlib.suppress(OSError, WebSocketException):
                self._open.close()
            self._open = None

    def _collect(self, kinds: frozenset[str], within_ms: int) -> list[Frame]:
        if self._open is None:
            raise Unanswered("the WebSocket is closed")
        until_ns = self._clock.monotonic_ns() + within_ms * 1_000_000
        found: list[Frame] = []
        while not kinds <= {str(frame.get("type")) for frame in found}:
            left_s = (until_ns - self._clock.monotonic_ns()) / 1e9
            if left_s <= 0:
                break
            try:
                text = self._open.recv(timeout=left_s)
                frame = msgspec.json.decode(text)
            except TimeoutError:
                break
            except (OSError, WebSocketException, msgspec.MsgspecError, ValueError) as error:
                raise Unanswered(f"the WebSocket: {type(error).__name__}") from None
            if isinstance(frame, dict):
                found.append(frame)
        return found


@contextlib.contextmanager
def alone(settings: Settings, terms: Terms) -> Iterator[None]:
    """Hold the locks of the account's gateway and of the watchdog: neither may run beside a probe.

    Raises:
        StartupError: one of them runs.
    """
    places = (
        (private_dir(terms.folder), ROLE, "order gateway of this account"),
        (settings.run_dir, WATCHDOG, "watchdog"),
    )
    with ExitStack() as stack:
        for folder, role, name in places:
            try:
                descriptor = take_role(folder, role)
            except StartupError:
                pid = holder(folder, role)
                if pid is None:
                    raise
                whole = holder(settings.run_dir, STACK)
                how = f"kill {pid} stops it"
                if whole:
                    how = f"kill {whole} stops all that {to_type('run')} started"
                raise StartupError(
                    f"the {name} runs (pid {pid}), and a probe only without it: {how}"
                ) from None
            stack.callback(os.close, descriptor)
        yield


def probe(
    settings: Settings,
    wanted: Wanted,
    stop: Stop,
    clock: Clock,
    rng: Rng,
    confirm: Callable[[], bool],
    say: Callable[[str], None],
    catch_ms: int | None = None,
) -> int:
    """Ask the exchange and report; return the exit code: 0 done, 1 not proved that nothing is left.

    Args:
        confirm: asks a person; returns whether to begin.
        say: shows lines to a person.
        catch_ms: how long to watch whether a cancel of all catches a later order; None: by env.

    Raises:
        StartupError: nothing was asked, for the reason given.
    """
    simulated = settings.env == "sim"
    if wanted.yes and not simulated:
        raise StartupError(f"--yes is for the simulated exchange: on env {settings.env} yes must be typed")
    kill_file = KillSwitch(private_dir(settings.data_dir))

    def halted() -> str | None:
        if stop.is_set():
            return "stopped"
        killed = kill_file.read()
        return None if killed is None else f"killed ({killed.reason}): see {kill_file.path}"

    if (why := halted()) is not None:
        raise StartupError(f"trading is {why}")
    keys = KeySource.of(settings)
    terms = _terms(settings, keys, clock, rng, stop)
    if terms.barred is not None:
        raise StartupError(terms.barred)
    private_dir(settings.run_dir)
    with alone(settings, terms):
        began_ms = clock.now_ms()
        report = reports.Report(
            exchange=terms.exchange, env=settings.env, account=terms.account, began=format_time(began_ms)
        )
        shell = Shell(settings, keys, clock, terms, halted, report.exchanged.append)
        try:
            return _probe(settings, wanted, shell, report, rng, confirm, say, catch_ms, clock)
        finally:
            shell.close()


def _probe(
    settings: Settings,
    wanted: Wanted,
    shell: Shell,
    report: reports.Report,
    rng: Rng,
    confirm: Callable[[], bool],
    say: Callable[[str], None],
    catch_ms: int | None,
    clock: Clock,
) -> int:
    simulated = settings.env == "sim"
    try:
        venue = shell.drive(find(wanted.market))
    except (Unanswered, Halted) as error:
        raise StartupError(f"{error}: nothing was placed") from None
    if catch_ms is None:
        catch_ms = 0 if simulated else CATCH_MS
    most_e6 = wanted.most_e6 if wanted.most_e6 is not None or simulated else MOST_E6
    chosen = reports.plan(questions(catch_ms), wanted.only, venue, most_e6)
    report.market, report.most = venue.main.ticker, reports.dollars(chosen.most_e6)
    say(reports.announced(chosen, venue, report.exchange, report.account))
    if not (wanted.yes or confirm()):
        raise StartupError("not confirmed: nothing was placed")
    try:
        _ask(shell, chosen, venue, rng, report, say)
    finally:
        report.ended = format_time(clock.now_ms())
        text, raw = _write(settings, report, clock.now_ms())
        say(f"At the end: {reports.ending(report)}")
        say(f"Report: {text} and {raw.name}")
    return EXIT_LEFT if report.left is not None else 0


def _ask(
    shell: Shell,
    chosen: reports.Plan,
    venue: Venue,
    rng: Rng,
    report: reports.Report,
    say: Callable[[str], None],
) -> None:
    desk = Desk(lambda: f"probe-{rng.getrandbits(96):024x}")

    def found(finding: reports.Finding) -> None:
        report.findings.append(finding)
        report.switches.update(finding.switch)
        say(reports.line(finding))

    report.left = shell.drive(reports.conduct(chosen, venue, desk, found))
    report.kept = {ticker: format_count(count_e2) for ticker, count_e2 in desk.bought_e2.items() if count_e2}


def _terms(settings: Settings, keys: KeySource, clock: Clock, rng: Rng, stop: Stop) -> Terms:
    """Return the terms of the account.

    Raises:
        StartupError: the exchange does not state them.
    """
    if keys.missing():
        raise StartupError(
            f"{settings.private_key_path}: no key there yet: is the simulated exchange running?"
        )
    source = TermsSource(settings, keys, clock, rng, stop)
    try:
        return source.ask()
    except Stopped:
        raise StartupError("stopped: nothing was placed") from None
    except ExchangeError as error:
        raise StartupError(f"{source.words(error)} Nothing was placed.") from None


def _write(settings: Settings, report: reports.Report, now_ms: int) -> tuple[Path, Path]:
    """Write the report down, as text and as JSON, and return where."""
    folder = private_dir(settings.data_dir / FOLDER)
    name = f"{report.env}-{report.account}-{reports.stamp(now_ms)}"
    text, raw = folder / f"{name}.txt", folder / f"{name}.json"
    text.write_text(redact(reports.as_text(report)))
    raw.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    return text, raw
