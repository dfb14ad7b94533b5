"""The table of settings, by process: the type, default, accepted values and meaning of every setting.

`Settings` (settings.py) combines them. Single values are checked here, rules between settings there.
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
from markets.texts import utf8

from .echo import KEY_TEXT, kind_of_secret

Mode = Literal["sim", "paper", "live"]
Env = Literal["sim", "demo", "prod"]

LIVE_CONFIRMATION: Final = "I accept real orders"
"""What `live_confirmation` must say before mode live starts."""

IPC_PATH_MAX_BYTES: Final = 107
"""Longest path of a Unix socket on Linux (sun_path holds 108 bytes, including the terminating zero)."""

NAME_MAX: Final = 200
"""Longest name of a series, category or market, and longest key id, in characters."""

NAME_BYTES_MAX: Final = 255
PATH_BYTES_MAX: Final = 4096
"""Linux's NAME_MAX and PATH_MAX (limits.h)."""

RUN_DIR_MAX_BYTES: Final = IPC_PATH_MAX_BYTES - len("/supervisor.sock.4194304")
"""Longest run directory: supervisord first binds its socket under a temporary name that contains its pid."""


def _no_bool(value: object) -> object:
    # pydantic accepts True as 1. Settings spell out yes and no, so a TOML `true` is always a mistake.
    if isinstance(value, bool):
        raise ValueError("it is a boolean")
    return value


def _digits(value: object) -> object:
    # pydantic accepts "+5003" and "5_003" as numbers, but neither text is a port in a URL.
    if isinstance(value, str) and not re.fullmatch("-?[0-9]{1,30}", value):
        raise ValueError("it is not a whole number written in digits")
    return _no_bool(value)


def _no_secret(text: str) -> str:
    if (secret := kind_of_secret(text)) is not None:
        raise ValueError(f"it is {secret}, which does not belong here")
    return text


def _names(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _name(text: str) -> str:
    """Check a name used by the exchange: it is sent there in requests, and repeated in logs."""
    if not 0 < len(text) <= NAME_MAX or not text.isprintable():
        raise ValueError(f"a name has 1 to {NAME_MAX} printable characters")
    return _no_secret(text)


def _call(text: str) -> str:
    # Arguments may be keys to the user's own services: they are not checked here, and are hidden elsewhere.
    _no_secret(text.partition("(")[0])
    if utf8(text) != text:
        raise ValueError("it is not UTF-8")
    return text


def _path(path: Path) -> Path:
    text = str(path)
    if "\n" in text or r"\n" in text or kind_of_secret(text) == KEY_TEXT:
        raise ValueError("it is a text, not the name of a file")
    try:
        sizes = [len(part.encode()) for part in path.parts]
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8") from None
    if not text.isprintable():
        raise ValueError("it contains unprintable characters")
    if max(sizes, default=0) > NAME_BYTES_MAX or sum(sizes) + len(sizes) > PATH_BYTES_MAX:
        raise ValueError("it is too long for a file name")
    return path


def _values_path(path: Path) -> Path:
    """Refuse a name that does not say of which of the two kinds the file is."""
    if _path(path).suffix not in (".csv", ".json"):
        raise ValueError("its name ends otherwise")
    return path


def _key_path(path: Path) -> Path:
    """Refuse the text of a key, on one line or several, and say how to put it into a file."""
    try:
        return _path(path)
    except ValueError as error:
        raise ValueError(
            f"{error}; if it is the text of the key, put it into a file: (umask 077; printf '%b\\n' "
            '"$KALSHI_PRIVATE_KEY_PATH" > kalshi.pem), and name that file'
        ) from None


def _urls_path(path: Path) -> Path:
    """Refuse a URL, which is a secret, where the file of URLs should be named."""
    if re.search(r"(?:^|/)[A-Za-z][A-Za-z0-9+.-]*:/", str(path)):
        raise ValueError("it is a URL: put URLs into a file of mode 0600, one per line, and name that file")
    return _path(path)


def _key_id(text: str) -> str:
    if kind_of_secret(text) == KEY_TEXT:
        raise ValueError(f"it is {KEY_TEXT}, not its id: KALSHI_PRIVATE_KEY_PATH names the key's file")
    for index, char in enumerate(text, 1):
        if not "!" <= char <= "~":
            raise ValueError(f"character {index} is U+{ord(char):04X}, not printable ASCII")
    if not 0 < len(text) <= NAME_MAX:
        raise ValueError(f"it has {len(text)} characters, not 1 to {NAME_MAX}")
    return text


def _calls(value: object) -> object:
    """Split at the commas outside brackets: arguments may contain commas and quoted text themselves."""
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
    # Checked here because at bind ZeroMQ says only "File name too long".
    if (size := len(path.encode())) > limit:
        raise ValueError(f"the path has {size} bytes, Unix sockets allow {limit}")


def _run_dir(path: Path) -> Path:
    _fits(str(_path(path)), RUN_DIR_MAX_BYTES)
    return path


def tcp_port(endpoint: str) -> int | None:
    """Return the port of a well-formed loopback ``tcp://`` endpoint, else None."""
    parts = urlsplit(endpoint)  # .port raises ValueError above 65535: pydantic reports it
    # An IPv4 address, not a name: ZeroMQ cannot bind to names, and needs an option for IPv6.
    host = parts.hostname or ""
    loopback = host.startswith("127.") and is_loopback(host)
    return (parts.port or None) if loopback and endpoint == f"tcp://{host}:{parts.port}" else None


def _endpoint(endpoint: str) -> str:
    if not endpoint.isprintable():
        raise ValueError("it contains unprintable characters")
    if endpoint.startswith("ipc:///"):
        _fits(endpoint.removeprefix("ipc://"), IPC_PATH_MAX_BYTES)
        return endpoint
    if tcp_port(endpoint) is None:
        raise ValueError("it is neither")
    return endpoint


def _followed(endpoint: str) -> str:
    if not endpoint.startswith("tcp://"):
        return _endpoint(endpoint)
    found = re.fullmatch(
        r"tcp://([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?):([0-9]{1,5})", endpoint, re.ASCII
    )
    if found is None or not 0 < int(found[3]) <= 65_535:
        raise ValueError("it is none of these")
    return endpoint


def _fed(endpoint: str) -> str:
    if not is_jetstream(endpoint):
        return _followed(endpoint)
    if not endpoint.isprintable():
        raise ValueError("it contains unprintable characters")
    try:
        address_of(endpoint)
    except StartupError as error:
        raise ValueError(str(error)) from None
    return endpoint


def _door(endpoint: str) -> str:
    """Check an address of this machine to listen on: ZeroMQ cannot bind to names."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        raise ValueError("it has no IPv4 address") from None
    if (
        endpoint != f"tcp://{address}:{port}"
        or not re.fullmatch("[1-9][0-9]{0,4}", port, re.ASCII)
        or int(port) > 65_535
    ):
        raise ValueError("it is not an address and a port")
    return endpoint


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError("it is not an IPv4 address") from None


def _url(schemes: tuple[str, str]) -> AfterValidator:
    plain, encrypted = schemes

    def check(url: str) -> str:
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("it is not a plain URL")
        parts = urlsplit(url)
        loopback = is_loopback(parts.hostname or "") and parts.scheme == plain
        if not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("it is not a plain URL: host, port and path only")
        if parts.scheme != encrypted and not loopback:
            raise ValueError("it is not encrypted")
        parts.port  # noqa: B018 - raises ValueError when out of range
        return url.rstrip("/")

    return AfterValidator(check)


def _setting(default: object, expected: str, meaning: str, **kwargs: Any) -> Any:
    """Declare one row of the table. A `default` in angle brackets is derived in `Settings.load`."""
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
    return _setting(default, "a port, 1..65535, used by no other setting", meaning, ge=1, le=65535)


_IPC: Final = "`ipc:///absolute/path` (at most 107 bytes) or `tcp://127.0.0.1:port`"
_FOLLOWED: Final = f"{_IPC}; with `curve_key`, also `tcp://host:port` of a forwarder"
_FED: Final = f"{_FOLLOWED}, or `nats://host:port[/stream]`"
_DOOR: Final = "`tcp://` with an IPv4 address of this machine (or 0.0.0.0) and a port"
_NAMES: Final = "names separated by commas (TOML: a list)"
_CALLS: Final = (
    "names or `/path/mine.py:Class`, each optionally with `(key=value)`, separated by commas (TOML: a list)"
)

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
"""Their text is parsed where they are loaded, not here."""
_Endpoint = Annotated[str, AfterValidator(_endpoint)]
_Followed = Annotated[str, AfterValidator(_followed)]
_Fed = Annotated[str, AfterValidator(_fed)]
_Door = Annotated[str, AfterValidator(_door)]
_Address = Annotated[str, AfterValidator(_address)]
_Path = Annotated[Path, AfterValidator(_path)]
_Dollars = Annotated[Decimal, BeforeValidator(_no_bool)]
"""Exact dollars with at most six decimals; `money_e6` turns them into micro-dollars."""


class Rows(BaseModel):
    """Base of all rows: frozen, and a key that is not in the table is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class CommonRows(Rows):
    """For every process: which exchange, what happens to orders, where files and sockets are."""

    mode: Mode = _setting(
        "<sim on env sim, else paper>",
        "`sim`, `paper` or `live`",
        "What happens to orders: `sim` sends them to the simulator, `paper` fills them here, `live` sends "
        "them to Kalshi. `sim` needs env `sim`; `live` needs env `demo` or `prod`, a key and a confirmation.",
    )
    env: Env = _setting(
        "sim", "`sim`, `demo` or `prod`", "The exchange: our simulator, Kalshi's demo, or Kalshi itself."
    )
    live_confirmation: str = _setting(
        "", f"`{LIVE_CONFIRMATION}`, or nothing", "Must be typed out in full before mode `live` starts."
    )
    api_url: Annotated[str, _url(("http", "https"))] | None = _setting(
        None,
        "an `https://` URL, or `http://` on loopback",
        "Base URL of the exchange's REST API. Default: that of env.",
    )
    ws_url: Annotated[str, _url(("ws", "wss"))] | None = _setting(
        None,
        "a `wss://` URL, or `ws://` on loopback",
        "URL of the exchange's WebSocket. Default: that of env.",
    )
    api_key_id: Annotated[str, AfterValidator(_key_id)] | None = _setting(
        None,
        "the id that Kalshi shows beside the key",
        "Id of the key that signs requests. Default with env `sim`: the simulator's.",
        repr=False,
    )
    private_key_path: Annotated[Path, AfterValidator(_key_path)] | None = _setting(
        None,
        "a file of mode 0600",
        "PEM file of the key. Default with env `sim`: `sim_private_key.pem` in `run_dir`.",
    )
    run_dir: Annotated[Path, AfterValidator(_run_dir)] = _setting(
        "<.run>",
        "a directory of mode 0700, its path at most 83 bytes long",
        "Holds sockets, locks, logs and the simulator's keys.",
    )
    data_dir: _Path = _setting(
        "<.data>", "a directory of mode 0700", "Holds what must survive: checkpoint, journals, recordings."
    )
    feed: _Fed = _setting("<ipc://RUN_DIR/feed.sock>", _FED, "Where the publisher sends the feed (XPUB).")
    state: _Followed = _setting(
        "<ipc://RUN_DIR/state.sock>",
        _FOLLOWED,
        "Where the publisher hands out its state, to replicas that join or repair (ROUTER).",
    )
    query: _Followed = _setting(
        "<ipc://RUN_DIR/query.sock>",
        _FOLLOWED,
        "Where the snapshot server answers replicas and programs (ROUTER).",
    )
    curve_key: _Path | None = _setting(
        None,
        "a file of mode 0600, made by `kalshi-bus keys`",
        "Key for a forwarder on another machine. With it, every `tcp://` endpoint is reached with CURVE: "
        "docs/remote.md.",
    )
    past: _Endpoint = _setting(
        "<ipc://RUN_DIR/past.sock>", _IPC, "Where the time machine answers questions about the past (ROUTER)."
    )
    orders: _Endpoint = _setting(
        "<ipc://RUN_DIR/orders.sock>", _IPC, "Where the order gateway takes orders (ROUTER)."
    )
    order_events: _Endpoint = _setting(
        "<ipc://RUN_DIR/order_events.sock>",
        _IPC,
        "Where the order gateway sends heartbeats and hints (PUB).",
    )
    trader_control: _Endpoint = _setting(
        "<ipc://RUN_DIR/trader_control.sock>",
        _IPC,
        "Where the trader takes commands and gives its status (ROUTER).",
    )
    trader_agents: _Endpoint = _setting(
        "<ipc://RUN_DIR/trader_agents.sock>",
        _IPC,
        "Where the trader answers agents, which can read and prepare but place nothing (ROUTER): "
        "docs/agents.md.",
    )
    trader_events: _Endpoint = _setting(
        "<ipc://RUN_DIR/trader_events.sock>", _IPC, "Where the trader sends fair values and events (PUB)."
    )
    alerts_control: _Endpoint = _setting(
        "<ipc://RUN_DIR/alerts_control.sock>",
        _IPC,
        "Where the alerts process takes rules and lists what it has sent (ROUTER).",
    )
    stale_after_s: _Float = _setting(
        30.0,
        "seconds, more than poll_interval_s, at most 86400",
        "Data older than this is stale.",
        gt=0,
        le=86_400,
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "`debug`, `info`, `warning` or `error`", "The lowest level that is logged."
    )


class PublisherRows(Rows):
    """For the publisher: what it asks of the exchange, and how often."""

    poll_interval_s: _Float = _setting(
        12.0,
        "seconds, 0.1..3600",
        "Time from the start of one sweep to the start of the next.",
        ge=0.1,
        le=3600,
    )
    series: _Names = _setting((), _NAMES, "Publish only these series. Default: all.")
    categories: _Names = _setting((), _NAMES, "Publish only series of these categories. Default: all.")
    tickers: _Names = _setting((), _NAMES, "Publish only these markets. Default: all.")
    enriched_books_max: _Int = _setting(
        300, "0..10000", "How many order books are kept, at most, beside the sweep.", ge=0, le=10_000
    )
    stream: Literal["yes", "no"] = _setting(
        "yes", "`yes` or `no`", "Whether to listen to the exchange's WebSocket, which needs a key."
    )


class TraderRows(Rows):
    """For the trader: its strategies, its fair values and its limits."""

    strategies: _Calls = _setting(
        ("baskets",),
        _CALLS,
        "The strategies that trade. If several want the same event, the one named first chooses first: "
        "docs/extending.md.",
    )
    fair_values_file: Annotated[Path, AfterValidator(_values_path)] | None = _setting(
        None,
        "a `.csv` or `.json` file",
        "A file with your own fair values, read again whenever it changes: docs/trader.md.",
    )
    fair_values: _Calls = _setting(
        (),
        _CALLS,
        "Sources of fair values, each run in its own process. If several value the same market, the one "
        "named first counts, and `fair_values_file` comes before all: docs/extending.md.",
    )
    paper_cash: _Dollars = _dollars("10000", "Play money with which a journal begins in mode `paper`.")
    paper_latency_ms: _Int = _setting(
        250, "0..60000", "Milliseconds from a decision until its paper order arrives.", ge=0, le=60_000
    )
    limit_order: _Dollars = _dollars("100", "The most that one order may cost, including fees.")
    limit_market: _Dollars = _dollars(
        "200",
        "The most that may be at stake in one market: what is held at its cost without the fees already "
        "paid, plus what open orders may still cost with fees. All limits of what is at stake count so, and "
        "only orders that even out a basket may go beyond them.",
    )
    limit_event: _Dollars = _dollars(
        "300", "The most that may be at stake in one event, counted as for `limit_market`: without fees paid."
    )
    limit_total: _Dollars = _dollars("5000", "The most that may be at stake in total.")
    limit_match: _Dollars = _dollars("600", "The most that may be at stake in all events of one match.")
    limit_series: _Dollars = _dollars("5000", "The most that may be at stake in one series.")
    limit_day: _Dollars = _dollars(
        "5000", "The most that may be at stake in trades expected to pay out on the same day (UTC)."
    )
    limit_shard: _Dollars = _dollars("5000", "The most that may be at stake on one shard of the exchange.")
    limit_strategy: _Dollars = _dollars("5000", "The most that one strategy may have at stake.")
    limit_daily_loss: _Dollars = _dollars(
        "250",
        "Once the loss since 00:00 UTC reaches this, nothing more is bought until the next day (UTC) or "
        "until `kalshi-bus trader resume UNLOCK`; a restart changes nothing, and positions are still evened "
        "out and closed. Locked baskets count at the least they pay. Other positions count at their last "
        "good bid or the current bid, whichever is lower: at half of that after 120 s without a bid, at "
        "nothing after 10 minutes, and at their result as soon as it is determined.",
    )
    limit_open_orders: _Int = _setting(40, "1..10000", "The most orders open at once.", ge=1, le=10_000)
    limit_orders_per_minute: _Int = _setting(
        120, "1..100000", "The most orders sent within a minute.", ge=1, le=100_000
    )
    limit_positions_per_event: _Int = _setting(
        3, "1..1000", "The most trades open in one event; a basket counts as one.", ge=1, le=1_000
    )
    limit_price_collar: _Dollars = _dollars(
        "0.10", "How far an order's limit may lie beyond the best price seen, in dollars per contract."
    )
    limit_leg_age_s: _Float = _setting(
        30.0, "seconds, above 0, at most 3600", "Prices older than this are not traded on.", gt=0, le=3600
    )
    limit_payout_hours: _Float = _setting(
        24.0,
        "hours, above 0, at most 100000",
        "Nothing is bought that is expected to pay out later than this many hours from now.",
        gt=0,
        le=100_000,
    )
    min_edge: _Dollars = _dollars("0.05", "The least profit a trade must be expected to make, after fees.")
    min_daily_return: _Float = _setting(
        0.01,
        "percent, 0..100",
        "The least profit per day that a trade must be expected to make on the money it ties up until it "
        "pays out; 0.01 is about what cash earns. Money that an account with collateral return gets back at "
        "once does not count as tied up.",
        ge=0,
        le=100,
    )
    trade_in_play: Literal["no", "yes"] = _setting(
        "no", "`no` or `yes`", "Whether to trade after the start of a match."
    )
    limit_before_start_s: _Float = _setting(
        30.0,
        "seconds, 0..86400",
        "Nothing is bought within this many seconds before a match starts, since it may start early.",
        ge=0,
        le=86_400,
    )
    trade_void_risk: Literal["no", "yes"] = _setting(
        "yes",
        "`no` or `yes`",
        "Whether to buy a locked trade that may pay back less than it costs if its event is called off: "
        "docs/trader.md.",
    )


class GatewayRows(Rows):
    """For the order gateway: its own limits, whatever the trader asks for."""

    gateway_limit_order: _Dollars = _dollars("200", "The most that one order may cost.")
    gateway_limit_market: _Dollars = _dollars(
        "400", "The most that may be at stake in one market: what is held, plus what orders may still cost."
    )
    gateway_limit_total: _Dollars = _dollars("10000", "The most that may be at stake in total.")
    gateway_limit_orders_per_minute: _Int = _setting(
        240, "1..100000", "The most orders sent within a minute.", ge=1, le=100_000
    )
    order_lease_s: _Int = _setting(
        60,
        "whole seconds, 10..3600",
        "A resting order expires at the exchange this long after the process that placed it has died.",
        ge=10,
        le=3600,
    )
    gateway_resend: Literal["no", "yes"] = _setting(
        "no",
        "`no` or `yes`",
        "Whether an order that got no answer may be sent again with the same id. Only for accounts where the "
        "exchange refuses the id of a filled order: docs/orders.md.",
    )


class RecorderRows(Rows):
    """For the recorder that `make run` starts."""

    record: Literal["yes", "no"] = _setting(
        "yes", "`yes` or `no`", "Whether to record the whole feed: docs/recording.md."
    )
    record_budget_gb: _Float = _setting(
        5.0,
        "GB, above 0, at most 1000000",
        "The most disk space the recording in `data_dir` may take; its oldest part is deleted first.",
        gt=0,
        le=1_000_000,
    )


class ForwarderRows(Rows):
    """For the forwarder: where replicas on other machines get the feed and their answers."""

    forward: Literal["no", "yes"] = _setting(
        "no", "`no` or `yes`", "Whether to pass the feed and answers on to other machines: docs/remote.md."
    )
    forward_feed: _Door = _setting(
        "tcp://127.0.0.1:5010", _DOOR, "Where the forwarder sends the feed (XPUB with CURVE)."
    )
    forward_query: _Door = _setting(
        "tcp://127.0.0.1:5011", _DOOR, "Where the forwarder takes questions (ROUTER with CURVE)."
    )


class AlertsRows(Rows):
    """For alerts: whom to tell when something matters."""

    alerts: Literal["no", "yes"] = _setting(
        "no",
        "`no` or `yes`",
        "Whether to check the rules and send alerts, to the pages and to `alerts_urls`: docs/alerts.md.",
    )
    alerts_urls: Annotated[Path, AfterValidator(_urls_path)] | None = _setting(
        None,
        "a file of mode 0600, one URL per line",
        "Where alerts are sent, through Apprise (Discord, Telegram, mail, ntfy, ...). Each URL is a secret.",
    )
    alerts_heartbeat_s: _Float = _setting(
        60.0,
        "seconds, 5..86400",
        "Time between two beats of the dead man's heartbeat, which a line `heartbeat URL` in `alerts_urls` "
        "turns on.",
        ge=5,
        le=86_400,
    )
    alerts_heartbeat_needs: Literal["feed", "trader"] = _setting(
        "trader",
        "`feed` or `trader`",
        "What the heartbeat needs: with `feed`, that the data is fresh; with `trader`, also that the trader "
        "answers and is not halted. (One that somebody paused or killed is not halted.)",
    )


class HttpRows(Rows):
    """For the HTTP servers."""

    snapshot_port: _Int = _port(5002, "HTTP port of the snapshot server.")
    past_port: _Int = _port(5004, "HTTP port of the time machine.")
    ui_port: _Int = _port(5001, "HTTP port of the dashboard.")
    bind: _Address = _setting(
        "127.0.0.1",
        "an IPv4 address of this machine, or `0.0.0.0`; beyond loopback only with a token_file",
        "The address on which these three servers listen: docs/remote.md.",
    )
    token_file: _Path | None = _setting(
        None,
        "a file of mode 0600 with at least 32 characters",
        "A file with the token that these three servers ask for; browsers log in with it.",
    )
    tls_certificate: _Path | None = _setting(
        None,
        "a PEM file: the certificate, then those that signed it; only with tls_key",
        "The certificate with which these three servers also answer `https://` and `wss://`: docs/remote.md.",
    )
    tls_key: _Path | None = _setting(
        None, "a PEM file of mode 0600; only with tls_certificate", "The private key of that certificate."
    )
    hosts: _Names = _setting(
        (), _NAMES, "Names or addresses by which browsers reach this machine, beside bind and loopback."
    )
    proxies: _Names = _setting(
        (), _NAMES, "Addresses of reverse proxies whose `X-Forwarded-For` is believed."
    )
    history_mb: _Int = _setting(
        64,
        "8..4096",
        "The most memory, and the most disk space, for the history of best prices and trades, in MiB.",
        ge=8,
        le=4_096,
    )


class SimulatorRows(Rows):
    """For the simulator that `make run` starts; one by hand takes options: docs/simulator.md.

    bus.process.supervise passes these rows on its command line.
    """

    sim_port: _Int = _port(5003, "HTTP port of the simulator, on 127.0.0.1.")
    sim_markets: _Int = _setting(
        1500, "1..1000000", "How many markets the simulator lists.", ge=1, le=1_000_000
    )
    sim_seed: _Int = _setting(
        1, "0 or more", "Seed of the simulator's random numbers: the same seed gives the same day.", ge=0
    )
