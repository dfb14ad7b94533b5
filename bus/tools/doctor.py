"""``kalshi-bus doctor``: look at everything from outside and say in plain words what is wrong.

It changes nothing and works whatever is down. Each finding is one line; a problem names its remedy.
"""

import os
import stat
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import zmq

from bus.alerting import AlertsAnswer
from bus.ask import Asker, NoAnswer
from bus.clock import Clock, SystemClock
from bus.drift import DriftRow
from bus.health import HealthAnswer, progress, publisher_problem, publisher_warnings, trader_problems
from bus.jetstream.stored import address_of
from bus.jetstream.stored import is_remote as is_jetstream
from bus.process.access import local
from bus.process.certificate import files_of, read_certificate
from bus.process.echo import shown_path
from bus.process.locks import holder
from bus.process.logs import hide, redact
from bus.process.programs import to_type
from bus.process.settings import Settings, variable_of
from bus.process.supervise import check_trader
from bus.process.supervised import Supervisor
from bus.protocol.messages import TOPIC_HEARTBEAT, Error, Heartbeat, decode, decode_control
from bus.sockets import MAX_FEED, connect, make, make_context
from bus.trading.ended import EndedStrategies
from bus.trading.gateway import STANDS_STILL, GatewayStatus
from bus.trading.reasons import why_refused
from bus.trading.shapes import TraderStatus, told
from markets.errors import DecodeError, KalshiBusError, SettingsError, StartupError

HEARTBEAT_WAIT_MS: Final = 2_000
ANSWER_WAIT_MS: Final = 2_000
HTTP_TIMEOUT_S: Final = 3.0
ROLES: Final = ("publisher", "snapshot_server", "ui", "trader", "orders", "watchdog", "alerts")
CLOCK_SKEW_MS: Final = 2_000
DRIFT_MOST: Final = 10


class Finding(NamedTuple):
    """One thing looked at: `ok` True, False (a problem), or None (nothing to judge)."""

    ok: bool | None
    what: str
    said: str


def run(environ: dict[str, str], cwd: Path, say: Callable[[str], None] = print) -> int:
    """Print what is well and what is not; return 0 if no problem was found, else 1."""
    try:
        settings = Settings.load(environ, cwd)
    except SettingsError as error:
        for problem in error.problems:
            say(f"WRONG  settings: {redact(problem)}")
        return 1
    hide(settings.api_key_id)
    problems, runs = 0, False
    for finding in examine(settings, SystemClock(), environ, cwd):
        problems += finding.ok is False
        runs |= finding.what in ROLES and finding.ok is True
        word = {True: "ok   ", False: "WRONG", None: "-    "}[finding.ok]
        say(f"{word}  {finding.what}: {redact(finding.said)}")
    if not runs:
        say(f"nothing runs in {settings.run_dir}: {to_type('run')} starts everything")
    say(f"{problems} problem(s)" if problems else "nothing wrong")
    return 1 if problems else 0


def examine(settings: Settings, clock: Clock, environ: Mapping[str, str], cwd: Path) -> Iterator[Finding]:
    """Yield findings, from the ground up: directories, processes, sockets, answers, age."""
    yield Finding(True, "settings", f"mode {settings.mode}, env {settings.env}, run dir {settings.run_dir}")
    yield from _directories(settings)
    yield from _key(settings)
    yield from certificate_findings(settings, clock)
    yield from _supervised(settings)
    yield from (_role(settings, role) for role in ROLES)
    context = make_context(settings.curve_key)
    try:
        yield from _feed(settings, context, clock)
        yield _socket(context, "state", settings.state, "the publisher")
        yield _socket(context, "query", settings.query, "the snapshot server")
        if settings.mode != "paper":
            yield gateway_ready(context, settings)
        status = None
        if holder(settings.run_dir, "trader"):
            finding, status = trader_begun(context, settings)
            yield finding
        yield from _strategies(settings, status, environ, cwd)
        if settings.alerts == "yes":
            yield from alerts_well(context, settings)
    finally:
        context.term()
    yield from _health(settings)
    yield _http(settings, settings.ui_port, "/api/status", "dashboard", variable_of("ui_port"))


def _directories(settings: Settings) -> Iterator[Finding]:
    for key in ("run_dir", "data_dir"):
        path: Path = getattr(settings, key)
        if not path.exists():
            yield Finding(None, key, f"{path} does not exist yet: the first start makes it")
            continue
        found = path.stat()
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid != os.geteuid():
            yield Finding(
                False, key, f"{path} belongs to user {found.st_uid}: set {variable_of(key)} to one of yours"
            )
        elif mode & 0o077:
            yield Finding(False, key, f"{path} has mode {mode:04o}, others can enter: chmod 700 {path}")
        elif not os.access(path, os.W_OK | os.X_OK):
            yield Finding(False, key, f"{path} cannot be written to: set {variable_of(key)} to where it can")
        else:
            space = os.statvfs(path)
            free_mb = space.f_bavail * space.f_frsize // 1_000_000
            remedy = "" if free_mb >= 500 else ": make room"
            yield Finding(free_mb >= 500, key, f"{path}, {free_mb} MB free{remedy}")


def certificate_findings(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Yield whom the certificate is for, if there is one, and whether it needs somebody's attention."""
    files = files_of(settings)
    if files is None:
        return
    try:
        found = read_certificate(files)
    except StartupError as error:
        yield Finding(False, "certificate", str(error))
        return
    said = f"{shown_path(files.certificate)} is for {', '.join(found.names) or 'no name'}"
    if (warning := found.warning(clock)) is not None:
        said += f", and {warning}: renew it"
    yield Finding(warning is None, "certificate", said)


def _key(settings: Settings) -> Iterator[Finding]:
    path = settings.private_key_path
    if path is None:
        yield Finding(None, "key", "none configured: the publisher polls unsigned")
        return
    try:
        found = path.lstat()
    except FileNotFoundError:
        simulated = settings.env == "sim"  # a replay, or the feed of another machine, needs none
        hint = (
            "the simulator writes it at its start" if simulated else f"see {variable_of('private_key_path')}"
        )
        yield Finding(None if simulated else False, "key", f"{shown_path(path)} does not exist: {hint}")
        return
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        yield Finding(False, "key", f"{path} is not a plain file")
    elif mode & 0o077:
        yield Finding(False, "key", f"{path} has mode {mode:04o}, others can read it: chmod 600 {path}")
    else:
        yield Finding(True, "key", f"{path}, mode {mode:04o}")


def _supervised(settings: Settings) -> Iterator[Finding]:
    """What supervisord says about each process, if supervisord runs."""
    supervisor = Supervisor(settings.run_dir)
    try:
        processes = supervisor.ask()
    except (OSError, HTTPException, xmlrpc.client.Error) as error:
        yield Finding(
            False,
            "supervisord",
            f"does not answer on {supervisor.control} ({error}): start it with {to_type('run')}",
        )
        return
    if processes is None:
        yield Finding(None, "supervisord", "not running: the processes are started by hand, or not at all")
        return
    for name, process in processes.items():
        log = settings.run_dir / "logs" / f"{name}.jsonl"
        remedy = "" if process.trouble is None else f", {process.trouble}: read the end of {log}"
        yield Finding(process.trouble is None, f"supervised {name}", f"{process.state}{remedy}")


def _role(settings: Settings, role: str) -> Finding:
    pid = holder(settings.run_dir, role)
    return Finding(True, role, f"running, pid {pid}") if pid else Finding(None, role, "not running")


def _strategies(
    settings: Settings, status: TraderStatus | None, environ: Mapping[str, str], cwd: Path
) -> Iterator[Finding]:
    """With what the trader trades, if one answers, else would trade; and whether a start could load that."""
    try:
        check_trader(environ, cwd)
        ended = EndedStrategies(settings.data_dir).read()
    except StartupError as error:
        yield Finding(False, "strategies", str(error) if status is None else f"at its next start: {error}")
    else:
        if status is None:
            yield from (_ended(one.strategy, one.reason) for one in ended)
            yield Finding(True, "strategies", ", ".join(settings.strategies))
    if status is not None:
        yield from running_strategies(status)


def running_strategies(status: TraderStatus) -> Iterator[Finding]:
    """Yield which strategies a running trader trades with, and why it does not with others."""
    for one in status.strategy_states:
        if one.state == "ended":
            yield _ended(one.name, f"{one.error}")
        elif one.state == "dropped":
            said = f"{one.name} is dropped until the next session: {one.call} failed ({one.error})"
            yield Finding(False, "strategies", f"{said}: the trader's log says where")
    trading = [one.text for one in status.strategy_states if one.state == "trades"]
    yield Finding(True, "strategies", f"the trader trades with {', '.join(trading) or 'none'}")


def _ended(name: str, reason: str) -> Finding:
    said = f"{name} is not loaded: {reason}"
    return Finding(False, "strategies", f"{said}: {to_type('trader allow')} {name}")


def _feed(settings: Settings, context: zmq.Context[Any], clock: Clock) -> Iterator[Finding]:
    if is_jetstream(settings.feed):
        said = f"{address_of(settings.feed).shown}: a JetStream, which is not looked at here (docs/bridge.md)"
        yield Finding(None, "feed", said)
        return
    socket = make(context, zmq.SUB, MAX_FEED)
    try:
        socket.setsockopt(zmq.SUBSCRIBE, TOPIC_HEARTBEAT.encode())
        connect(socket, settings.feed)
        if not socket.poll(HEARTBEAT_WAIT_MS):
            silence = f"no heartbeat on {settings.feed} in {HEARTBEAT_WAIT_MS / 1000:g} s"
            yield Finding(False, "feed", f"{silence}: is the publisher up?")
            return
        _, envelope = decode(socket.recv())
        heartbeat = decode_control(envelope, Heartbeat)
    except DecodeError as error:
        yield Finding(False, "feed", f"{settings.feed} speaks something else: {error}")
        return
    finally:
        socket.close()
    opened = heartbeat.seq > 0 or heartbeat.source != "live"
    where = f"epoch {envelope.epoch}, seq {heartbeat.seq}" if opened else "no epoch is open yet"
    yield Finding(True, "feed", f"{where}, {heartbeat.source}")
    skew_ms = abs(clock.now_ms() - envelope.published_ns // 1_000_000)
    if heartbeat.source == "live" and skew_ms > CLOCK_SKEW_MS:
        yield Finding(
            False, "clock", f"the publisher's clock differs by {skew_ms} ms: set this machine's time"
        )
    account = heartbeat.publisher
    problem = publisher_problem(account)
    said = f"{account.sweep}, key {account.key}"
    if problem is not None:
        yield Finding(False, "sweep", f"{said}: {problem.words}")
    else:
        yield Finding(True, "sweep", said if opened else f"{said}, {progress(account)}")
    yield from (Finding(False, "warning", warning.words) for warning in publisher_warnings(account))
    if account.stream_refusal is not None:
        counts = ", ".join(f"{count} times {code}" for code, count in account.stream_refused.items())
        limit = f"; at most {account.stream_books_max} books are followed" if account.stream_books_max else ""
        said = f"errors on the WebSocket: {counts}{limit}; the last: {account.stream_refusal}"
        yield Finding(None, "stream", said)


def _ask(
    context: zmq.Context[Any], endpoint: str, question: dict[str, Any], timeout_ms: int = ANSWER_WAIT_MS
) -> dict[str, Any]:
    """Ask once; unlike `bus.ask.ask`, do not wait for somebody to be there."""
    with closing(Asker(context, endpoint)) as asker:
        return asker.ask(question, timeout_ms)


def _socket(context: zmq.Context[Any], name: str, endpoint: str, owner: str) -> Finding:
    try:
        answer = _ask(context, endpoint, {"op": "ping"})
    except (NoAnswer, KalshiBusError) as error:
        return Finding(False, name, f"{error}: is {owner} up?")
    return Finding(True, name, f"epoch {answer.get('epoch')}, seq {answer.get('seq')}")


def gateway_ready(context: zmq.Context[Any], settings: Settings) -> Finding:
    """Return whether orders could be sent, and why not."""
    try:
        status = told(_ask(context, settings.orders, {"op": "gateway"}), GatewayStatus)
    except KalshiBusError as error:
        return Finding(False, "gateway", f"{error}: is the order gateway up? {to_type('run')} starts it")
    said = f"{', '.join(status.reasons) or 'ready'}, generation {status.generation}"
    said += f", {status.open_orders} orders open, {status.unknown} unknown"
    if status.error is not None:
        said += f": {status.error}"
    if status.watchdog is None:
        return Finding(False, "gateway", f"{said}; there is no watchdog: {to_type('run')} starts it")
    if status.watchdog == STANDS_STILL:
        return Finding(
            False, "gateway", f"{said}; the watchdog stands still: kill it, and it is started again"
        )
    return Finding(status.state == "ready" and status.error is None, "gateway", said)


def trader_begun(
    context: zmq.Context[Any], settings: Settings, timeout_ms: int = 1_000
) -> tuple[Finding, TraderStatus | None]:
    """Return whether a running trader has begun to trade, and what it then says about itself."""
    try:
        answer = _ask(context, settings.trader_control, {"op": "status"}, timeout_ms)
        status = told(answer, TraderStatus)
    except KalshiBusError as error:
        waits = "it begins once the order gateway has said whose account it has"
        said = f"{error}" if settings.mode == "paper" else f"{error}: {waits}"
        return Finding(False, "trader_control", said), None
    return trader_trades(status), status


def trader_trades(status: TraderStatus) -> Finding:
    """Return whether a trader trades; if not, it is a problem where it needs a person for that."""
    problems = trader_problems(status)
    if problems:
        return Finding(False, "trader_control", " ".join(problem.words for problem in problems))
    said = f"the trader answers, {status.state}"
    if status.reasons:
        said += f": {'; '.join(map(why_refused, status.reasons))}"
    return Finding(None if status.reasons else True, "trader_control", said)


def alerts_well(context: zmq.Context[Any], settings: Settings, timeout_ms: int = 1_000) -> Iterator[Finding]:
    """Yield whether alerts are judged and get out, and what is wrong with that."""
    try:
        answer = told(_ask(context, settings.alerts_control, {"op": "alerts"}, timeout_ms), AlertsAnswer)
    except KalshiBusError as error:
        yield Finding(False, "alerts_control", f"{error}: are the alerts up? {to_type('run')} starts them")
        return
    said = f"{len(answer.rules)} rules, {len(answer.ways)} ways out, heartbeat {answer.heartbeat.state}"
    yield Finding(True, "alerts_control", said)
    yield from (Finding(False, "alerts_control", problem) for problem in answer.problems)
    for way in answer.ways:
        if way.error is not None:
            yield Finding(False, f"way {way.name}", f"{way.error}, {way.waiting} messages wait")


def _get(settings: Settings, port: int, path: str) -> tuple[int, bytes]:
    host, headers = local(settings)
    connection = HTTPConnection(host, port, timeout=HTTP_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def _http(settings: Settings, port: int, path: str, what: str, setting: str) -> Finding:
    url = f"http://{settings.bind}:{port}{path}"
    try:
        status, body = _get(settings, port, path)
        msgspec.json.decode(body)
    except (OSError, HTTPException, msgspec.DecodeError, StartupError) as error:
        return Finding(False, what, f"{url}: {error}: is it up? {setting} sets its port")
    return Finding(status == 200, what, f"{url} answers {status}{_refusal(body)}")


class _Refusal(msgspec.Struct):
    error: Error


def _refusal(body: bytes) -> str:
    """Return what a server says in refusing a request, after a colon; empty if it says nothing."""
    try:
        return f": {msgspec.json.decode(body, type=_Refusal).error.message}"
    except msgspec.DecodeError:
        return ""


def _health(settings: Settings) -> Iterator[Finding]:
    url = f"http://{settings.bind}:{settings.snapshot_port}/health"
    try:
        status, body = _get(settings, settings.snapshot_port, "/health")
        if refusal := _refusal(body):
            yield Finding(False, "health", f"{url} answers {status}{refusal}")
            return
        health = msgspec.json.decode(body, type=HealthAnswer)
    except (OSError, HTTPException, msgspec.DecodeError, StartupError) as error:
        setting = variable_of("snapshot_port")
        yield Finding(False, "health", f"{url}: {error}: is the snapshot server up? {setting} sets its port")
        return
    said = f"{status} {health.status}, {health.market_count} markets, {health.age_seconds} s old"
    # Resyncing is not judged: within seconds it ends by itself, or becomes stale.
    yield Finding(None if health.status == "resyncing" else health.status == "ok", "health", said)
    if health.resyncing is not None:
        yield Finding(None, "resyncing", health.resyncing.words)
    if health.degraded:
        count = len(health.degraded)
        yield Finding(False, "digests", f"{count} streams differ from the publisher: report it")
    if health.quarantined_count:
        count = health.quarantined_count
        yield Finding(None, "quarantine", f"{count} records kept out: see {settings.data_dir / 'quarantine'}")
    yield from drift_findings(health.drift, health.drift_more, url)


def drift_findings(rows: Sequence[DriftRow], more: int, url: str) -> Iterator[Finding]:
    """Yield where the exchange departs from its documents: the newest in full, the others counted."""
    for row in rows[:DRIFT_MOST]:
        yield Finding(None, "drift", f"Kalshi sends what it does not document: {row.text}")
    more += max(0, len(rows) - DRIFT_MOST)
    if more:
        yield Finding(None, "drift", f"{more} more, named in {url} and in the publisher's log")
