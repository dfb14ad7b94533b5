"""Every setting of every process: one table, one frozen `Settings`.

Defaults here < ``kalshi-bus.toml`` in the working directory (or the file KALSHI_BUS_CONFIG names) <
environment. A key that is not in the table refuses the start, and so does a wrong value; the error lists
all problems at once. Kalshi's hosts are not here: only ``publisher/`` knows them.
"""

import difflib
import ipaddress
import tomllib
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from markets.errors import SettingsError

from .logs import redact

Mode = Literal["sim", "paper", "live"]
Env = Literal["sim", "demo", "prod"]

STRATEGIES: Final = ("no_basket", "value")
"""Names that `strategies` may hold: those of trader/strategies/."""

LIVE_CONFIRMATION: Final = "I accept real orders"
"""What `live_confirmation` must say before mode live starts."""

IPC_PATH_MAX_BYTES: Final = 107
"""Longest path of a Unix socket on Linux (sun_path holds 108 bytes with the closing zero)."""

RUN_DIR_MAX_BYTES: Final = IPC_PATH_MAX_BYTES - len("/supervisor.sock.4194304")
"""Longest run directory: supervisord binds a temporary name with its pid before it renames the socket."""

CONFIG_FILE: Final = "kalshi-bus.toml"
_PREFIX: Final = "KALSHI_BUS_"
_CONFIG_VARIABLE: Final = "KALSHI_BUS_CONFIG"
_VARIABLES: Final = {"api_key_id": "KALSHI_API_KEY_ID", "private_key_path": "KALSHI_PRIVATE_KEY_PATH"}
"""Variables outside our prefix: the names Kalshi's own tools use."""


def _no_bool(value: object) -> object:
    # pydantic takes True for 1; no setting is a yes/no, so a TOML `true` is always a mistake.
    if isinstance(value, bool):
        raise ValueError("a boolean")
    return value


def _names(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fits(path: str, limit: int) -> None:
    # Found here and not at bind, where ZeroMQ says no more than "File name too long".
    if (size := len(path.encode())) > limit:
        raise ValueError(f"a path of {size} bytes, Unix sockets allow {limit}")


def _run_dir(path: Path) -> Path:
    _fits(str(path), RUN_DIR_MAX_BYTES)
    return path


def _tcp_port(endpoint: str) -> int | None:
    """Return the port of a well-formed loopback ``tcp://`` endpoint, else None."""
    parts = urlsplit(endpoint)  # .port raises ValueError beyond 65535: pydantic reports it
    # An IPv4 address, no name: ZeroMQ cannot bind to names, and takes IPv6 only when told to.
    host = parts.hostname or ""
    loopback = host.startswith("127.") and _is_loopback(host)
    return (parts.port or None) if loopback and endpoint == f"tcp://{host}:{parts.port}" else None


def _endpoint(endpoint: str) -> str:
    if endpoint.startswith("ipc:///"):
        _fits(endpoint.removeprefix("ipc://"), IPC_PATH_MAX_BYTES)
        return endpoint
    if _tcp_port(endpoint) is None:
        raise ValueError("neither of them")
    return endpoint


def _url(schemes: tuple[str, str]) -> AfterValidator:
    plain, encrypted = schemes

    def check(url: str) -> str:
        parts = urlsplit(url)
        loopback = _is_loopback(parts.hostname or "") and parts.scheme == plain
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
    extra = {"expected": expected, "default": default.strip("<>") if derived else default}  # type: ignore[attr-defined]
    field = {"description": meaning, "json_schema_extra": extra, **kwargs}
    return Field(**field) if derived else Field(default, **field)


def _dollars(default: str, meaning: str) -> Any:
    expected = "dollars, 0..1000000000, at most 6 decimals"
    extra = {"expected": expected, "default": default}
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
_NAMES: Final = "names with commas between them (TOML: a list)"

_ENDPOINTS: Final = ("feed", "state", "query", "orders", "trader_control", "trader_events")

_Int = Annotated[int, BeforeValidator(_no_bool)]
_Float = Annotated[float, BeforeValidator(_no_bool)]
_Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
_Endpoint = Annotated[str, AfterValidator(_endpoint)]
_Dollars = Annotated[Decimal, BeforeValidator(_no_bool)]
"""Exact dollars, at most six decimals: `money_e6` turns them into micro-dollars."""


class Settings(BaseModel):
    """All settings of one process, validated and immutable. Made by `Settings.load` only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = _setting(
        "paper",
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
    api_key_id: str | None = _setting(
        None,
        "the id Kalshi shows beside the key",
        "Key to sign with. Default on env `sim`: the simulator's.",
        repr=False,
    )
    private_key_path: Path | None = _setting(
        None,
        "a file of mode 0600",
        "PEM file of the key. Default on env `sim`: `sim_private_key.pem` in the run dir.",
    )
    poll_interval_s: _Float = _setting(
        12.0, "seconds, 0.1..3600", "From the start of one sweep to the start of the next.", ge=0.1, le=3600
    )
    stale_after_s: _Float = _setting(
        30.0, "seconds, above poll_interval_s", "Data older than this is called stale.", gt=0, le=86_400
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
    run_dir: Annotated[Path, AfterValidator(_run_dir)] = _setting(
        "<.run>",
        "a directory of mode 0700, at most 83 bytes long",
        "Sockets, locks, logs, the simulator's keys.",
    )
    data_dir: Path = _setting(
        "<.data>", "a directory of mode 0700", "What must survive: checkpoint, journal, recordings."
    )
    feed: _Endpoint = _setting("<ipc://RUN_DIR/feed.sock>", _IPC, "Publisher's feed (PUB).")
    state: _Endpoint = _setting("<ipc://RUN_DIR/state.sock>", _IPC, "Publisher's state for joining (ROUTER).")
    query: _Endpoint = _setting("<ipc://RUN_DIR/query.sock>", _IPC, "Snapshot server's answers (ROUTER).")
    orders: _Endpoint = _setting("<ipc://RUN_DIR/orders.sock>", _IPC, "Order gateway (ROUTER).")
    trader_control: _Endpoint = _setting(
        "<ipc://RUN_DIR/trader_control.sock>", _IPC, "Trader's status and commands (ROUTER)."
    )
    trader_events: _Endpoint = _setting(
        "<ipc://RUN_DIR/trader_events.sock>", _IPC, "Trader's fair values and events (PUB)."
    )
    snapshot_port: _Int = _port(5002, "Snapshot server's HTTP port on 127.0.0.1.")
    ui_port: _Int = _port(5001, "Dashboard's HTTP port on 127.0.0.1.")
    sim_port: _Int = _port(5003, "Simulator's HTTP port on 127.0.0.1.")
    sim_markets: _Int = _setting(1500, "1..500000", "How many markets the simulator lists.", ge=1, le=500_000)
    sim_seed: _Int = _setting(1, "0 or more", "Seed of the simulator: the same seed, the same day.", ge=0)
    strategies: _Names = _setting(
        ("no_basket", "value"),
        "of `no_basket`, `value`, with commas between them (TOML: a list)",
        "What the trader trades on; of an event the first named has the first choice.",
    )
    fair_values_file: Path | None = _setting(
        None,
        "a `.csv` or `.json` file",
        "Fair values of your own, read again whenever it changes: docs/trader.md.",
    )
    paper_cash: _Dollars = _dollars("10000", "Play money at the start of a journal in mode `paper`.")
    paper_latency_ms: _Int = _setting(
        250, "0..60000", "From the decision to the arrival of a paper order, ms.", ge=0, le=60_000
    )
    limit_order: _Dollars = _dollars("100", "Most that one order may cost, fees included.")
    limit_market: _Dollars = _dollars("200", "Most that may be at stake in one market.")
    limit_event: _Dollars = _dollars("300", "Most that may be at stake in one event.")
    limit_total: _Dollars = _dollars("5000", "Most that may be at stake in all.")
    limit_daily_loss: _Dollars = _dollars(
        "250", "Loss since 00:00 UTC, open positions at their bid included, that ends the day's trading."
    )
    limit_open_orders: _Int = _setting(40, "1..10000", "Most orders open at once.", ge=1, le=10_000)
    limit_orders_per_minute: _Int = _setting(
        120, "1..100000", "Most orders sent within a minute.", ge=1, le=100_000
    )
    limit_positions_per_event: _Int = _setting(
        1, "1..1000", "Trades that may be open in one event; a basket is one.", ge=1, le=1_000
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
    trade_in_play: Literal["no", "yes"] = _setting(
        "no", "`no` or `yes`", "Whether to trade after the start of a match."
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "`debug`, `info`, `warning` or `error`", "Least level that is logged."
    )

    @property
    def sim_key_id_path(self) -> Path:
        """Where the simulator writes the id of the key that belongs to `private_key_path`."""
        return self.run_dir / "sim_key_id"

    @classmethod
    def load(cls, environ: Mapping[str, str], cwd: Path) -> Self:
        """Return the settings of a process with this environment and working directory.

        An empty variable counts as not set; relative paths start at `cwd`.

        Raises:
            SettingsError: with every problem there is, each naming key, origin, value and what was expected.
        """
        problems: list[str] = []
        values: dict[str, object] = {}
        origin: dict[str, str] = {}  # how the user wrote the key, and where
        path = cwd / (environ.get(_CONFIG_VARIABLE) or CONFIG_FILE)
        required = bool(environ.get(_CONFIG_VARIABLE))
        for key, value in _read_toml(path, required, problems).items():
            if key in cls.model_fields:
                values[key], origin[key] = value, f"{key} ({path.name})"
            else:
                problems.append(f"{key} ({path.name}): unknown key{_hint(key, cls.model_fields)}")
        variables = {variable_of(key): key for key in cls.model_fields}
        for variable, text in environ.items():
            if variable in variables and text:
                key = variables[variable]
                values[key], origin[key] = text, f"{variable} (environment)"
            elif variable.startswith(_PREFIX) and variable not in {*variables, _CONFIG_VARIABLE}:
                # The value stays unsaid: it may be a secret in the wrong place.
                problems.append(f"{variable} (environment): unknown key{_hint(variable, variables)}")

        _derive(values, cwd)
        settings, bad = cls._validated(values, origin, problems)
        for keys, problem in _contradictions(settings, origin):
            if not bad.intersection(keys):
                problems.append(problem)
        if problems:
            raise SettingsError(problems)
        return settings

    @classmethod
    def _validated(
        cls, values: dict[str, object], origin: Mapping[str, str], problems: list[str]
    ) -> tuple[Self, set[str]]:
        """Return the settings, bad values replaced by defaults so that the rest can be checked too."""
        try:
            return cls(**values), set()  # type: ignore[arg-type]
        except ValidationError as error:
            bad = {str(detail["loc"][0]): detail for detail in error.errors()}
        for key, detail in bad.items():
            if key not in origin and key != "run_dir":
                continue  # derived from another bad setting, which is reported
            reason = f" ({detail['ctx']['error']})" if detail["type"] == "value_error" else ""
            value = str(values[key]) if isinstance(values[key], Path) else values[key]
            shown = "(hidden)" if key == "api_key_id" else redact(repr(value))[:200]
            expected = _extra(key)["expected"]
            problems.append(f"{origin.get(key, key)}: got {shown}, expected {expected}{reason}")
        good = {key: value for key, value in values.items() if key not in bad}
        _derive(good, Path("/"))
        return cls(**good), set(bad)  # type: ignore[arg-type]


def variable_of(key: str) -> str:
    """Return the environment variable of the setting `key`."""
    return _VARIABLES.get(key, _PREFIX + key.upper())


def money_e6(dollars: Decimal) -> int:
    """Return a setting in dollars as int of $0.000001."""
    return int(dollars * 1_000_000)


def settings_table() -> str:
    """Return the Markdown table of all settings, as the README shows it (a test compares them)."""
    lines = ["| Variable | Key in the file | Default | Accepted | Meaning |", "|---|---|---|---|---|"]
    for key, field in Settings.model_fields.items():
        default = _extra(key)["default"]
        if isinstance(default, tuple):
            default = ",".join(default)
        shown = f"`{default:g}`" if isinstance(default, float) else f"`{default}`" if default else ""
        lines.append(
            f"| `{variable_of(key)}` | `{key}` | {shown} | {_extra(key)['expected']} | {field.description} |"
        )
    return "\n".join(lines) + "\n"


def _extra(key: str) -> dict[str, Any]:
    extra = Settings.model_fields[key].json_schema_extra
    assert isinstance(extra, dict)
    return extra


def _hint(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f", did you mean {close[0]}?" if close else ""


def _read_toml(path: Path, required: bool, problems: list[str]) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            problems.append(
                f"{_CONFIG_VARIABLE} (environment): got {str(path)!r}, expected a file that exists"
            )
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        problems.append(f"{path}: not TOML: {redact(str(error))}")
    return {}


def _derive(values: dict[str, object], cwd: Path) -> None:
    """Fill in the defaults that follow from other settings, and make paths absolute."""
    for key in ("run_dir", "data_dir", "private_key_path", "fair_values_file"):
        default = _extra(key)["default"]
        if isinstance(value := values.get(key, default), str):
            values[key] = cwd / value
    run_dir = values["run_dir"]
    for key in _ENDPOINTS:
        values.setdefault(key, f"ipc://{run_dir}/{key}.sock")
    if values.get("env", "sim") == "sim":
        port = values.get("sim_port", 5003)
        values.setdefault("api_url", f"http://127.0.0.1:{port}/trade-api/v2")
        values.setdefault("ws_url", f"ws://127.0.0.1:{port}/trade-api/ws/v2")
        values.setdefault("private_key_path", Path(str(run_dir)) / "sim_private_key.pem")


def _contradictions(s: Settings, origin: Mapping[str, str]) -> Iterator[tuple[set[str], str]]:
    """Yield each rule between settings that is broken: the keys it is about, and the line to print."""

    def name(key: str) -> str:
        return origin.get(key, f"{variable_of(key)} (default)")

    if s.mode == "sim" and s.env != "sim":
        yield {"mode", "env"}, f"{name('env')}: got {s.env!r}, expected 'sim': mode 'sim' trades there only"
    if s.mode == "live" and s.env == "sim":
        yield {"mode", "env"}, f"{name('env')}: got 'sim', expected 'demo' or 'prod': mode is 'live'"
    if s.mode == "live" and s.live_confirmation != LIVE_CONFIRMATION:
        yield (
            {"mode", "live_confirmation"},
            f"{name('live_confirmation')}: got {s.live_confirmation!r}, expected {LIVE_CONFIRMATION!r}",
        )
    for key, other in (("api_key_id", "private_key_path"), ("private_key_path", "api_key_id")):
        if s.env != "sim" and getattr(s, key) is None and (s.mode == "live" or getattr(s, other) is not None):
            why = "mode is 'live'" if s.mode == "live" else f"{variable_of(other)} is set"
            yield {"mode", "env", key, other}, f"{name(key)}: got nothing, expected a value: {why}"
    for key, url in (("api_url", s.api_url), ("ws_url", s.ws_url)):
        if s.env == "sim" and url is not None and not _is_loopback(urlsplit(url).hostname or ""):
            yield {"env", key}, f"{name(key)}: got {url!r}, expected a host on loopback: env is 'sim'"
    if s.stale_after_s <= s.poll_interval_s:
        least = f"more than {s.poll_interval_s:g}, {name('poll_interval_s')}"
        fields = {"stale_after_s", "poll_interval_s"}
        yield fields, f"{name('stale_after_s')}: got {s.stale_after_s:g}, expected {least}"
    for small, large in (("limit_order", "limit_total"), ("limit_event", "limit_total")):
        if getattr(s, small) > getattr(s, large):
            yield (
                {small, large},
                f"{name(small)}: got {getattr(s, small)}, expected at most {name(large)} {getattr(s, large)}",
            )
    for strategy in s.strategies:
        if strategy not in STRATEGIES:
            yield (
                {"strategies"},
                f"{name('strategies')}: got {strategy!r}, expected any of {', '.join(STRATEGIES)}",
            )
    yield from _clashes(s, name)


def _clashes(s: Settings, name: Callable[[str], str]) -> Iterator[tuple[set[str], str]]:
    """Yield the ports and endpoints that two settings claim."""
    taken = {key: f"port {getattr(s, key)}" for key in ("snapshot_port", "ui_port", "sim_port")}
    for key in _ENDPOINTS:
        endpoint: str = getattr(s, key)
        taken[key] = f"port {port}" if (port := _tcp_port(endpoint)) else endpoint
    for (earlier, theirs), (key, ours) in combinations(taken.items(), 2):
        if ours == theirs:
            yield {key, earlier}, f"{name(key)}: got {ours}, expected one that {name(earlier)} does not have"
