"""The table of settings: every row with its type, default, what is accepted and what it means, by process.

`Settings` (settings.py) is all of them. A row is checked here by itself, the rules between rows there.
"""

import ipaddress
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from bus.jetstream.stored import address_of
from bus.jetstream.stored import is_remote as is_jetstream
from markets.errors import StartupError

from .echo import KEY_TEXT, kind_of_secret

Mode = Literal["sim", "paper", "live"]
Env = Literal["sim", "demo", "prod"]

LIVE_CONFIRMATION: Final = "I accept real orders"
"""What `live_confirmation` must say before mode live starts."""

IPC_PATH_MAX_BYTES: Final = 107
"""Longest path of a Unix socket on Linux (sun_path holds 108 bytes with the closing zero)."""

NAME_MAX: Final = 200
"""Longest name of a series, category or market, and longest id of a key."""

NAME_BYTES_MAX: Final = 255
PATH_BYTES_MAX: Final = 4096
"""Linux: NAME_MAX and PATH_MAX (limits.h)."""

RUN_DIR_MAX_BYTES: Final = IPC_PATH_MAX_BYTES - len("/supervisor.sock.4194304")
"""Longest run directory: supervisord binds a temporary name with its pid before it renames the socket."""


def _no_bool(value: object) -> object:
    # pydantic takes True for 1; a yes or no is said in words, so a TOML `true` is always a mistake.
    if isinstance(value, bool):
        raise ValueError("a boolean")
    return value


def _digits(value: object) -> object:
    # pydantic takes "+5003" and "5_003" for numbers, whose text is then no port in a URL.
    if isinstance(value, str) and not re.fullmatch("-?[0-9]{1,30}", value):
        raise ValueError("not a number in digits")
    return _no_bool(value)


def _no_secret(text: str) -> str:
    if (secret := kind_of_secret(text)) is not None:
        raise ValueError(f"{secret}: not here")
    return text


def _names(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _name(text: str) -> str:
    """A name at the exchange: what is not one would be asked for there, and be repeated in logs."""
    if not 0 < len(text) <= NAME_MAX or not text.isprintable():
        raise ValueError(f"not 1 to {NAME_MAX} printable characters")
    return _no_secret(text)


def _call(text: str) -> str:
    # Arguments may be keys of somebody's own service: they are not looked at here, and hidden elsewhere.
    _no_secret(text.partition("(")[0])
    return text


def _path(path: Path) -> Path:
    text = str(path)
    if "\n" in text or r"\n" in text or kind_of_secret(text) == KEY_TEXT:
        raise ValueError("text, not the name of a file")
    try:
        sizes = [len(part.encode()) for part in path.parts]
    except UnicodeEncodeError:
        raise ValueError("not UTF-8") from None
    if not text.isprintable():
        raise ValueError("characters that no name of a file should have")
    if max(sizes, default=0) > NAME_BYTES_MAX or sum(sizes) + len(sizes) > PATH_BYTES_MAX:
        raise ValueError("too long for the name of a file")
    return path


def _key_path(path: Path) -> Path:
    """Refuse the text of a key, in one line or many, with how to make a file of it."""
    try:
        return _path(path)
    except ValueError as error:
        raise ValueError(
            f"{error}; if it is the text of the key, make a file of it: (umask 077; printf '%b\\n' "
            '"$KALSHI_PRIVATE_KEY_PATH" > kalshi.pem), and name that file'
        ) from None


def _urls_path(path: Path) -> Path:
    """Refuse a URL, which is a secret, in the place of the file of URLs."""
    if re.search(r"(?:^|/)[A-Za-z][A-Za-z0-9+.-]*:/", str(path)):
        raise ValueError("a URL: put it into a file of mode 0600, a line each, and name that file")
    return _path(path)


def _key_id(text: str) -> str:
    if kind_of_secret(text) == KEY_TEXT:
        raise ValueError(f"{KEY_TEXT}, not its id: KALSHI_PRIVATE_KEY_PATH names the file of the key")
    for index, char in enumerate(text, 1):
        if not "!" <= char <= "~":
            raise ValueError(f"character {index} is U+{ord(char):04X}, not printable ASCII")
    if not 0 < len(text) <= NAME_MAX:
        raise ValueError(f"{len(text)} characters, not 1 to {NAME_MAX}")
    return text


def _calls(value: object) -> object:
    """Split at the commas that stand in no brackets: arguments have commas, and text, of their own."""
    if not isinstance(value, str):
        return value
    parts, depth, quote, begin = [], 0, "", 0
    for index, char in enumerate(value):
        if quote:
            quote = "" if char == quote and value[index - 1] != "\\" else quote
        elif depth and char in "\"'":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth = max(0, depth - 1)
        elif char == "," and not depth:
            parts.append(value[begin:index])
            begin = index + 1
    parts.append(value[begin:])
    return [part.strip() for part in parts if part.strip()]


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fits(path: str, limit: int) -> None:
    # Found here and not at bind, where ZeroMQ says no more than "File name too long".
    if (size := len(path.encode())) > limit:
        raise ValueError(f"a path of {size} bytes, Unix sockets allow {limit}")


def _run_dir(path: Path) -> Path:
    _fits(str(_path(path)), RUN_DIR_MAX_BYTES)
    return path


def tcp_port(endpoint: str) -> int | None:
    """Return the port of a well-formed loopback ``tcp://`` endpoint, else None."""
    parts = urlsplit(endpoint)  # .port raises ValueError beyond 65535: pydantic reports it
    # An IPv4 address, no name: ZeroMQ cannot bind to names, and takes IPv6 only when told to.
    host = parts.hostname or ""
    loopback = host.startswith("127.") and is_loopback(host)
    return (parts.port or None) if loopback and endpoint == f"tcp://{host}:{parts.port}" else None


def _endpoint(endpoint: str) -> str:
    if not endpoint.isprintable():
        raise ValueError("characters that no name of a file should have")
    if endpoint.startswith("ipc:///"):
        _fits(endpoint.removeprefix("ipc://"), IPC_PATH_MAX_BYTES)
        return endpoint
    if tcp_port(endpoint) is None:
        raise ValueError("neither of them")
    return endpoint


def _followed(endpoint: str) -> str:
    if not endpoint.startswith("tcp://"):
        return _endpoint(endpoint)
    found = re.fullmatch(
        r"tcp://([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?):([0-9]{1,5})", endpoint, re.ASCII
    )
    if found is None or not 0 < int(found[3]) <= 65_535:
        raise ValueError("neither of them")
    return endpoint


def _fed(endpoint: str) -> str:
    if not is_jetstream(endpoint):
        return _followed(endpoint)
    if not endpoint.isprintable():
        raise ValueError("characters that no URL should have")
    try:
        address_of(endpoint)
    except StartupError as error:
        raise ValueError(str(error)) from None
    return endpoint


def _door(endpoint: str) -> str:
    """An address of this machine to listen on: ZeroMQ binds to no names."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        raise ValueError("not an IPv4 address of this machine") from None
    if (
        endpoint != f"tcp://{address}:{port}"
        or not re.fullmatch("[1-9][0-9]{0,4}", port, re.ASCII)
        or int(port) > 65_535
    ):
        raise ValueError("not an address and a port")
    return endpoint


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError("none") from None


def _url(schemes: tuple[str, str]) -> AfterValidator:
    plain, encrypted = schemes

    def check(url: str) -> str:
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("not a plain URL")
        parts = urlsplit(url)
        loopback = is_loopback(parts.hostname or "") and parts.scheme == plain
        if not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("not a plain URL")
        if parts.scheme != encrypted and not loopback:
            raise ValueError("not encrypted")
        parts.port  # noqa: B018 - raises ValueError when out of range
        return url.rstrip("/")

    return AfterValidator(check)


def _setting(default: object, expected: str, meaning: str, **kwargs: Any) -> Any:
    """Declare one row of the table. `default` in angle brackets is derived in `Settings.load`."""
    derived = isinstance(default, str) and default.startswith("<")
    shown = default.strip("<>") if derived else default  # type: ignore[attr-defined]
    extra = {"expected": expected, "default": shown, "derived": derived}
    field = {"description": meaning, "json_schema_extra": extra, **kwargs}
    return Field(**field) if derived else Field(default, **field)


def _dollars(default: str, meaning: str) -> Any:
    expected = "dollars, 0..1000000000, at most 6 decimals"
    extra = {"expected": expected, "default": default, "derived": False}
    return Field(
        Decimal(default),
        description=meaning,
        json_schema_extra=extra,  # type: ignore[arg-type]
        ge=0,
        le=10**9,
        decimal_places=6,
    )


def _port(default: int, meaning: str) -> Any:
    return _setting(default, "a port, 1..65535, not used twice", meaning, ge=1, le=65535)


_IPC: Final = "`ipc:///absolute/path` (at most 107 bytes) or `tcp://127.0.0.1:port`"
_FOLLOWED: Final = f"{_IPC}; with a key also `tcp://host:port` of a forwarder"
_FED: Final = f"{_FOLLOWED}, or `nats://host:port[/stream]`"
_DOOR: Final = "`tcp://` with an IPv4 address of this machine (or 0.0.0.0) and a port"
_NAMES: Final = "names with commas between them (TOML: a list)"
_CALLS: Final = "names or `/path/mine.py:Class`, each maybe with `(key=value)`, commas between (TOML: a list)"

ENDPOINTS: Final = (
    "feed",
    "state",
    "query",
    "past",
    "orders",
    "order_events",
    "trader_control",
    "trader_agents",
    "trader_events",
    "alerts_control",
)

_Int = Annotated[int, BeforeValidator(_digits)]
_Float = Annotated[float, BeforeValidator(_no_bool)]
_Names = Annotated[tuple[Annotated[str, AfterValidator(_name)], ...], BeforeValidator(_names)]
_Calls = Annotated[tuple[Annotated[str, AfterValidator(_call)], ...], BeforeValidator(_calls)]
"""What they say is read where they are loaded, not here."""
_Endpoint = Annotated[str, AfterValidator(_endpoint)]
_Followed = Annotated[str, AfterValidator(_followed)]
_Fed = Annotated[str, AfterValidator(_fed)]
_Door = Annotated[str, AfterValidator(_door)]
_Address = Annotated[str, AfterValidator(_address)]
_Path = Annotated[Path, AfterValidator(_path)]
_Dollars = Annotated[Decimal, BeforeValidator(_no_bool)]
"""Exact dollars, at most six decimals: `money_e6` turns them into micro-dollars."""


class Rows(BaseModel):
    """Base of all rows: frozen, and what is not in the table is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class CommonRows(Rows):
    """What every process knows: which exchange, what happens to orders, where everything lies."""

    mode: Mode = _setting(
        "<sim on env sim, else paper>",
        "`sim`, `paper` or `live`",
        "What happens to orders: `sim` sends them to the simulator, `paper` fills them here, `live` sends "
        "them to Kalshi. `sim` needs env `sim`; `live` needs env `demo` or `prod`, a key and a confirmation.",
    )
    env: Env = _setting(
        "sim", "`sim`, `demo` or `prod`", "Which exchange: our simulator, Kalshi's demo, Kalshi."
    )
    live_confirmation: str = _setting(
        "", f"`{LIVE_CONFIRMATION}`, or nothing", "Must be typed out before mode `live` starts."
    )
    api_url: Annotated[str, _url(("http", "https"))] | None = _setting(
        None,
        "an `https://` URL; `http://` on loopback",
        "REST base of the exchange. Default: the one of env.",
    )
    ws_url: Annotated[str, _url(("ws", "wss"))] | None = _setting(
        None, "a `wss://` URL; `ws://` on loopback", "WebSocket of the exchange. Default: the one of env."
    )
    api_key_id: Annotated[str, AfterValidator(_key_id)] | None = _setting(
        None,
        "the id Kalshi shows beside the key",
        "Key to sign with. Default on env `sim`: the simulator's.",
        repr=False,
    )
    private_key_path: Annotated[Path, AfterValidator(_key_path)] | None = _setting(
        None,
        "a file of mode 0600",
        "PEM file of the key. Default on env `sim`: `sim_private_key.pem` in the run dir.",
    )
    run_dir: Annotated[Path, AfterValidator(_run_dir)] = _setting(
        "<.run>",
        "a directory of mode 0700, at most 83 bytes long",
        "Sockets, locks, logs, the simulator's keys.",
    )
    data_dir: _Path = _setting(
        "<.data>", "a directory of mode 0700", "What must survive: checkpoint, journal, recordings."
    )
    feed: _Fed = _setting("<ipc://RUN_DIR/feed.sock>", _FED, "Publisher's feed (PUB).")
    state: _Followed = _setting(
        "<ipc://RUN_DIR/state.sock>", _FOLLOWED, "Publisher's state for joining (ROUTER)."
    )
    query: _Followed = _setting(
        "<ipc://RUN_DIR/query.sock>", _FOLLOWED, "Snapshot server's answers (ROUTER)."
    )
    curve_key: _Path | None = _setting(
        None,
        "a file of mode 0600 that `python -m bus keys` has made",
        "Key for a forwarder on another machine; all `tcp://` is then reached with CURVE: docs/remote.md.",
    )
    past: _Endpoint = _setting(
        "<ipc://RUN_DIR/past.sock>", _IPC, "Time machine's answers about what was recorded (ROUTER)."
    )
    orders: _Endpoint = _setting("<ipc://RUN_DIR/orders.sock>", _IPC, "Order gateway (ROUTER).")
    order_events: _Endpoint = _setting(
        "<ipc://RUN_DIR/order_events.sock>", _IPC, "Order gateway's heartbeats and hints (PUB)."
    )
    trader_control: _Endpoint = _setting(
        "<ipc://RUN_DIR/trader_control.sock>", _IPC, "Trader's status and commands (ROUTER)."
    )
    trader_agents: _Endpoint = _setting(
        "<ipc://RUN_DIR/trader_agents.sock>",
        _IPC,
        "Trader's answers to agents, who read and prepare and can place nothing (ROUTER): docs/agents.md.",
    )
    trader_events: _Endpoint = _setting(
        "<ipc://RUN_DIR/trader_events.sock>", _IPC, "Trader's fair values and events (PUB)."
    )
    alerts_control: _Endpoint = _setting(
        "<ipc://RUN_DIR/alerts_control.sock>", _IPC, "Rules of the alerts, and what was told (ROUTER)."
    )
    stale_after_s: _Float = _setting(
        30.0, "seconds, above poll_interval_s", "Data older than this is called stale.", gt=0, le=86_400
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "`debug`, `info`, `warning` or `error`", "Least level that is logged."
    )


class PublisherRows(Rows):
    """The publisher's: what it asks of the exchange, and how often."""

    poll_interval_s: _Float = _setting(
        12.0, "seconds, 0.1..3600", "From the start of one sweep to the start of the next.", ge=0.1, le=3600
    )
    series: _Names = _setting((), _NAMES, "Only these series. Default: all.")
    categories: _Names = _setting((), _NAMES, "Only series of these categories. Default: all.")
    tickers: _Names = _setting((), _NAMES, "Only these markets. Default: all.")
    enriched_books_max: _Int = _setting(
        300, "0..10000", "At most this many order books are kept beside the sweep.", ge=0, le=10_000
    )
    stream: Literal["yes", "no"] = _setting(
        "yes", "`yes` or `no`", "Whether to listen to the exchange's WebSocket; it needs a key."
    )


class TraderRows(Rows):
    """The trader's: what it trades on, and within which limits."""

    strategies: _Calls = _setting(
        ("baskets",),
        _CALLS,
        "Strategies to trade on; of an event the first named has the first choice: docs/extending.md.",
    )
    fair_values_file: _Path | None = _setting(
        None,
        "a `.csv` or `.json` file",
        "Fair values of your own, read again whenever it changes: docs/trader.md.",
    )
    fair_values: _Calls = _setting(
        (),
        _CALLS,
        "Sources of fair values, each in a process of its own; of a market the first named holds, before all "
        "the file: docs/extending.md.",
    )
    paper_cash: _Dollars = _dollars("10000", "Play money at the start of a journal in mode `paper`.")
    paper_latency_ms: _Int = _setting(
        250, "0..60000", "From the decision to the arrival of a paper order, ms.", ge=0, le=60_000
    )
    limit_order: _Dollars = _dollars("100", "Most that one order may cost, fees included.")
    limit_market: _Dollars = _dollars("200", "Most that may be at stake in one market.")
    limit_event: _Dollars = _dollars("300", "Most that may be at stake in one event.")
    limit_total: _Dollars = _dollars("5000", "Most that may be at stake in all.")
    limit_match: _Dollars = _dollars("600", "Most that may be at stake in all events of one match together.")
    limit_series: _Dollars = _dollars("5000", "Most that may be at stake in one series.")
    limit_day: _Dollars = _dollars(
        "5000", "Most that may be at stake in what is expected to pay out on one day in UTC."
    )
    limit_shard: _Dollars = _dollars("5000", "Most that may be at stake on one shard of the exchange.")
    limit_strategy: _Dollars = _dollars("5000", "Most that one strategy may have at stake.")
    limit_daily_loss: _Dollars = _dollars(
        "250",
        "Loss since 00:00 UTC from which nothing more is bought until the next day in UTC or `python "
        "-m trader resume UNLOCK`, restarts included; evening out and closing go on. Locked baskets "
        "count at what they surely pay, other positions at their last good bid or the bid of now, "
        "whichever is less: half of that after 120 s without a bid, nothing after 10 minutes, their "
        "result as soon as it is determined.",
    )
    limit_open_orders: _Int = _setting(40, "1..10000", "Most orders open at once.", ge=1, le=10_000)
    limit_orders_per_minute: _Int = _setting(
        120, "1..100000", "Most orders sent within a minute.", ge=1, le=100_000
    )
    limit_positions_per_event: _Int = _setting(
        3, "1..1000", "Trades that may be open in one event; a basket is one.", ge=1, le=1_000
    )
    limit_price_collar: _Dollars = _dollars(
        "0.10", "How far beyond the best price seen an order's limit may lie, dollars per contract."
    )
    limit_leg_age_s: _Float = _setting(
        30.0, "seconds, above 0", "Prices older than this are not traded on.", gt=0, le=3600
    )
    limit_payout_hours: _Float = _setting(
        24.0,
        "hours, above 0",
        "Nothing is bought that is expected to pay out later than this.",
        gt=0,
        le=100_000,
    )
    min_edge: _Dollars = _dollars("0.05", "Least expected profit of a trade after fees.")
    min_daily_return: _Float = _setting(
        0.01,
        "percent, 0..100",
        "Least expected profit a day on what a trade ties up until it pays out; 0.01 is about what cash "
        "earns. What an account with collateral return gets back at once is not tied up.",
        ge=0,
        le=100,
    )
    trade_in_play: Literal["no", "yes"] = _setting(
        "no", "`no` or `yes`", "Whether to trade after the start of a match."
    )
    limit_before_start_s: _Float = _setting(
        30.0,
        "seconds, 0..86400",
        "Nothing is bought so shortly before the start of a match, which may begin early.",
        ge=0,
        le=86_400,
    )
    trade_void_risk: Literal["no", "yes"] = _setting(
        "yes",
        "`no` or `yes`",
        "Whether to buy what is locked although it may pay back less than it costs if it is called off: "
        "docs/trader.md.",
    )


class GatewayRows(Rows):
    """The order gateway's: bounds of its own, whatever the trader says."""

    gateway_limit_order: _Dollars = _dollars("200", "Most that one order may cost at the order gateway.")
    gateway_limit_market: _Dollars = _dollars(
        "400", "Most that may be at stake in one market there: what is held and what orders may still cost."
    )
    gateway_limit_total: _Dollars = _dollars("10000", "Most that may be at stake there in all.")
    gateway_limit_orders_per_minute: _Int = _setting(
        240, "1..100000", "Most orders that it sends within a minute.", ge=1, le=100_000
    )
    order_lease_s: _Int = _setting(
        60,
        "whole seconds, 10..3600",
        "A resting order ends at the exchange by itself so long after whoever placed it has died.",
        ge=10,
        le=3600,
    )
    gateway_resend: Literal["no", "yes"] = _setting(
        "no",
        "`no` or `yes`",
        "Whether an order without an answer may be sent again under the same id. Only for accounts where the "
        "id of a filled order is refused: docs/orders.md.",
    )


class RecorderRows(Rows):
    """The recorder's, where `make run` starts it."""

    record: Literal["yes", "no"] = _setting(
        "yes", "`yes` or `no`", "Whether all that the feed says is recorded: docs/recording.md."
    )
    record_budget_gb: _Float = _setting(
        5.0,
        "GB, above 0, at most 1000000",
        "Most that the recording in the data dir may take; the oldest gives way.",
        gt=0,
        le=1_000_000,
    )


class ForwarderRows(Rows):
    """The forwarder's: where replicas on other machines find feed and answers."""

    forward: Literal["no", "yes"] = _setting(
        "no", "`no` or `yes`", "Whether feed and answers are passed on to other machines: docs/remote.md."
    )
    forward_feed: _Door = _setting(
        "tcp://127.0.0.1:5010", _DOOR, "Where the forwarder passes the feed on (PUB, CURVE)."
    )
    forward_query: _Door = _setting(
        "tcp://127.0.0.1:5011", _DOOR, "Where the forwarder takes questions (ROUTER, CURVE)."
    )


class AlertsRows(Rows):
    """The alerts': whom to call when it matters."""

    alerts: Literal["no", "yes"] = _setting(
        "no",
        "`no` or `yes`",
        "Whether rules are judged and alerts told, on the pages and by `alerts_urls`: docs/alerts.md.",
    )
    alerts_urls: Annotated[Path, AfterValidator(_urls_path)] | None = _setting(
        None,
        "a file of mode 0600, a URL a line",
        "Where alerts are told, by Apprise (Discord, Telegram, mail, ntfy, ...); each URL is a secret.",
    )
    alerts_heartbeat_s: _Float = _setting(
        60.0,
        "seconds, 5..86400",
        "From beat to beat of the dead man's heartbeat, which the line `heartbeat URL` in that file begins.",
        ge=5,
        le=86_400,
    )
    alerts_heartbeat_needs: Literal["feed", "trader"] = _setting(
        "trader",
        "`feed` or `trader`",
        "What must be well for it to beat: the data is fresh; or that, and the trader answers and is not "
        "halted.",
    )


class HttpRows(Rows):
    """The servers' on this machine."""

    snapshot_port: _Int = _port(5002, "Snapshot server's HTTP port.")
    past_port: _Int = _port(5004, "Time machine's HTTP port.")
    ui_port: _Int = _port(5001, "Dashboard's HTTP port.")
    bind: _Address = _setting(
        "127.0.0.1",
        "an IPv4 address of this machine, or `0.0.0.0`; other than loopback with a token_file",
        "Address that these three listen on: docs/remote.md.",
    )
    token_file: _Path | None = _setting(
        None,
        "a file of mode 0600 with at least 32 characters",
        "What is to be known by whoever asks these three: browsers log in with it.",
    )
    hosts: _Names = _setting(
        (), _NAMES, "Names or addresses by which browsers reach this machine, beside bind and loopback."
    )
    proxies: _Names = _setting(
        (), _NAMES, "Addresses of reverse proxies: from them `X-Forwarded-For` says where a request is from."
    )
    history_mb: _Int = _setting(
        64,
        "8..4096",
        "Most MiB of memory, and of disk, for what happened: the tops of all books and the trades.",
        ge=8,
        le=4_096,
    )


class SimulatorRows(Rows):
    """The simulator's: its command line has them from bus.process.supervise."""

    sim_port: _Int = _port(5003, "Simulator's HTTP port on 127.0.0.1.")
    sim_markets: _Int = _setting(
        1500, "1..1000000", "How many markets the simulator lists.", ge=1, le=1_000_000
    )
    sim_seed: _Int = _setting(1, "0 or more", "Seed of the simulator: the same seed, the same day.", ge=0)
