"""Loads and checks the settings of all processes: one frozen `Settings`. Its rows are in settings_table.py.

The environment overrides ``kalshi-bus.toml`` in the working directory (or the file that KALSHI_BUS_CONFIG
names), which overrides the defaults of the table. A key that is not in the table, or a wrong value, refuses
the start; the error lists all problems at once. Kalshi's hosts are not here: only ``publisher/`` knows them.
"""

import difflib
import inspect
import json
import os
import re
import stat
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import ValidationError

from bus.jetstream.stored import address_of
from bus.jetstream.stored import is_remote as is_jetstream
from markets.errors import SettingsError

from .echo import shown, shown_name, shown_path, told
from .logs import redact
from .settings_table import (
    ENDPOINTS,
    LIVE_CONFIRMATION,
    AlertsRows,
    CommonRows,
    ForwarderRows,
    GatewayRows,
    HttpRows,
    PublisherRows,
    RecorderRows,
    SimulatorRows,
    TraderRows,
    is_loopback,
    tcp_port,
)

CONFIG_FILE: Final = "kalshi-bus.toml"
CONFIG_MAX_BYTES: Final = 1_048_576
SECRET_KEYS: Final = frozenset({"api_key_id", "private_key_path", "alerts_urls"})
"""Settings whose wrong values are neither repeated nor described."""

_PREFIX: Final = "KALSHI_BUS_"
_CONFIG_VARIABLE: Final = "KALSHI_BUS_CONFIG"
_COMPOSE_VARIABLE: Final = "KALSHI_BUS_STACK"
"""Read by compose.yaml alone. Whoever exports it gives it to our processes too, where it means nothing."""
_VARIABLES: Final = {"api_key_id": "KALSHI_API_KEY_ID", "private_key_path": "KALSHI_PRIVATE_KEY_PATH"}
"""Variables without our prefix: these names are the ones that Kalshi's own tools use."""


class Settings(
    SimulatorRows,
    HttpRows,
    AlertsRows,
    ForwarderRows,
    RecorderRows,
    GatewayRows,
    TraderRows,
    PublisherRows,
    CommonRows,
):
    """All settings of one process, validated and immutable. Only `Settings.load` makes it."""

    @property
    def sim_key_id_path(self) -> Path:
        """Where the simulator writes the id of the key in `private_key_path`."""
        return self.run_dir / "sim_key_id"

    @property
    def recording(self) -> Path:
        """The folder of the recording that `make run` makes."""
        return self.data_dir / "recording"

    @property
    def keyring(self) -> Path:
        """The folder of the forwarder's keys: its own, and those of the machines it lets in."""
        return self.data_dir / "curve"

    @classmethod
    def load(cls, environ: Mapping[str, str], cwd: Path) -> Self:
        """Return the settings of a process with this environment and working directory.

        An empty variable counts as not set. White space around a value is ignored. Relative paths start at
        `cwd`.

        Raises:
            SettingsError: lists every problem found, with its key, origin, value and what was expected.
        """
        return cls.with_origins(environ, cwd)[0]

    @classmethod
    def with_origins(cls, environ: Mapping[str, str], cwd: Path) -> tuple[Self, dict[str, str]]:
        """Return what `load` returns, and by key where each setting was set, such as ``ui_port (my.toml)``.

        Raises:
            SettingsError: like `load`.
        """
        problems: list[str] = []
        path = cwd / (environ.get(_CONFIG_VARIABLE, "").strip() or CONFIG_FILE)
        written = _read_toml(path, bool(environ.get(_CONFIG_VARIABLE)), problems)
        return cls.of(written, environ, cwd, path.name, problems)

    @classmethod
    def of(
        cls,
        written: Mapping[str, object],
        environ: Mapping[str, str],
        cwd: Path,
        name: str = CONFIG_FILE,
        problems: Sequence[str] = (),
    ) -> tuple[Self, dict[str, str]]:
        """Return what `with_origins` returns, given what was read from the file.

        Args:
            written: keys and values of the file.
            name: the file's name, for the messages.
            problems: what went wrong while it was read.

        Raises:
            SettingsError: like `load`; it includes `problems`.
        """
        problems = [*problems]
        values: dict[str, object] = {}
        origin: dict[str, str] = {}
        for key, value in written.items():
            if key in cls.model_fields:
                values[key], origin[key] = _stripped(value), f"{key} ({name})"
            else:
                problems.append(f"{shown_name(key)} ({name}): unknown key{_hint(key, cls.model_fields)}")
        variables = {variable_of(key): key for key in cls.model_fields}
        known = {*variables, _CONFIG_VARIABLE, _COMPOSE_VARIABLE}
        for variable, text in environ.items():
            if variable in variables and text.strip():
                key = variables[variable]
                values[key], origin[key] = text.strip(), f"{variable} (environment)"
            elif variable.startswith(_PREFIX) and variable not in known:
                # The value is not repeated: it may be a misplaced secret.
                problems.append(
                    f"{shown_name(variable)} (environment): unknown key{_hint(variable, variables)}"
                )
        settings, bad = cls._validated(values, origin, cwd, problems)
        for keys, problem in _contradictions(settings, origin):
            if not bad.intersection(keys):
                problems.append(problem)
        if problems:
            raise SettingsError(problems)
        return settings, origin

    @classmethod
    def _validated(
        cls, values: Mapping[str, object], origin: Mapping[str, str], cwd: Path, problems: list[str]
    ) -> tuple[Self, set[str]]:
        """Return the settings, with bad values replaced by defaults so that the rest can be checked too."""
        bad: set[str] = set()
        folder = cwd
        while True:
            good = {key: value for key, value in values.items() if key not in bad}
            _derive(good, folder)
            try:
                return cls(**good), bad  # type: ignore[arg-type]
            except ValidationError as error:
                details = {str(detail["loc"][0]): detail for detail in error.errors(include_url=False)}
            # A derived setting is wrong only if the setting it follows from is; only the latter is reported.
            told = [key for key in details if key in values and key not in bad]
            if not told:  # whatever is left follows from the working directory
                assert folder is cwd, f"paths at the root of the file system are never wrong: {[*details]}"
                told, folder = ["run_dir" if "run_dir" in details else next(iter(details))], Path("/")
            for key in told:
                detail = details[key]
                reason = f" ({detail['ctx']['error']})" if detail["type"] == "value_error" else ""
                problems.append(_refusal(key, origin, good[key], reason))
            bad.update(told)


class Effective(NamedTuple):
    """A setting in effect: its key, its value in a form fit to show, and where it was set."""

    key: str
    value: str
    origin: str


def effective(settings: Settings, origin: Mapping[str, str]) -> list[Effective]:
    """Return every setting in effect, in the table's order, with all secrets hidden.

    Args:
        origin: from `Settings.with_origins`.
    """
    rows = []
    for key in Settings.model_fields:
        value = getattr(settings, key)
        if key == "api_key_id":
            said = "" if value is None else f"({len(value)} characters, hidden)"
        elif key == "private_key_path" and value is not None and key in origin:
            said = redact(shown_path(value))
        elif key == "feed" and is_jetstream(value):
            said = address_of(value).shown
        elif isinstance(value, tuple):
            said = redact(",".join(map(told, value)))
        elif isinstance(value, float):
            said = f"{value:g}"
        else:
            said = "" if value is None else redact(told(str(value)))
        rows.append(Effective(key, said, origin.get(key, "default")))
    return rows


def _refusal(key: str, origin: Mapping[str, str], value: object, reason: str) -> str:
    hint = re.findall("`([^` ]+)`", _extra(key)["expected"]) if isinstance(value, str) else []
    got = "a value that stays hidden" if key in SECRET_KEYS else shown(value, hint)
    return f"{origin.get(key, key)}: got {got}, expected {_extra(key)['expected']}{reason}"


def variable_of(key: str) -> str:
    """Return the environment variable of the setting `key`."""
    return _VARIABLES.get(key, _PREFIX + key.upper())


def money_e6(dollars: Decimal) -> int:
    """Return a setting in dollars as an integer number of $0.000001."""
    return int(dollars * 1_000_000)


def _groups() -> Iterator[tuple[str, list[str]]]:
    """Yield the heading and the keys of each part of the table, in the order of settings_table.py."""
    for rows in reversed(Settings.__mro__):
        keys = [key for key in inspect.get_annotations(rows) if key in Settings.model_fields]
        if keys and rows is not Settings:
            yield inspect.cleandoc(rows.__doc__ or "").split("\n")[0], keys


def _shown_default(key: str) -> str:
    default = _extra(key)["default"]
    if isinstance(default, tuple):
        default = ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default or "")


def settings_table() -> str:
    """Return the Markdown tables of all settings for docs/settings.md (a test compares the two)."""
    lines = []
    for about, keys in _groups():
        lines += [about, "", "| Variable | Key in the file | Default | Accepted | Meaning |"]
        lines.append("|---|---|---|---|---|")
        for key in keys:
            default = _shown_default(key)
            cells = (
                f"`{variable_of(key)}`",
                f"`{key}`",
                f"`{default}`" if default else "",
                str(_extra(key)["expected"]),
                Settings.model_fields[key].description or "",
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def example_toml() -> str:
    """Return ``kalshi-bus.example.toml``: every setting, commented out, with its default."""
    lines = [
        "# Settings of kalshi-bus. Copy this file to kalshi-bus.toml in the folder where you start, and",
        "# remove the # before each line you change. Environment variables (KALSHI_BUS_...) override it.",
    ]
    for about, keys in _groups():
        lines += ["", f"# {about}", ""]
        for key in keys:
            extra = _extra(key)
            shown = _shown_default(key)
            text = f"{Settings.model_fields[key].description} Accepted: {extra['expected']}."
            if extra["derived"]:
                text += f" Default: {shown}."
            lines += textwrap.wrap(text.replace("`", ""), 98, initial_indent="# ", subsequent_indent="# ")
            default = extra["default"]
            plain = isinstance(default, (int, float)) and not isinstance(default, bool)
            if extra["derived"] and ("RUN_DIR" in shown or " " in shown):
                shown = ""  # it follows from other settings
            lines.append(f"# {key} = {shown if plain else json.dumps(shown)}")
            lines.append("")
    return "\n".join(lines)


def _extra(key: str) -> dict[str, Any]:
    extra = Settings.model_fields[key].json_schema_extra
    assert isinstance(extra, dict)
    return extra


def _hint(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f", did you mean {close[0]}?" if close else ""


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _read_toml(path: Path, required: bool, problems: list[str]) -> dict[str, object]:
    said = shown_path(path)
    try:
        # Non-blocking, so that a FIFO is not waited for; and never unbounded, in case it is a device.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                problems.append(f"{said}: not a regular file")
                return {}
            content = file.read(CONFIG_MAX_BYTES + 1)
        if len(content) > CONFIG_MAX_BYTES:
            problems.append(f"{said}: more than {CONFIG_MAX_BYTES} bytes, expected a few lines of settings")
            return {}
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            problems.append(f"{said}: is UTF-16, expected UTF-8: save it as UTF-8")
            return {}
        return tomllib.loads(content.decode("utf-8-sig"))  # -sig: Windows editors put a mark in front
    except FileNotFoundError:
        if required:
            problems.append(f"{_CONFIG_VARIABLE} (environment): got {said}, expected a file that exists")
    except OSError as error:
        problems.append(f"{said}: cannot be read: {error.strerror}")
    except RecursionError:
        problems.append(f"{said}: cannot be read: too many brackets within brackets")
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError, or a zero byte in the path
        problems.append(f"{said}: not TOML: {redact(str(error))}")
    return {}


def _derive(values: dict[str, object], cwd: Path) -> None:
    """Fill in the defaults that follow from other settings, and make paths absolute."""
    paths = ("run_dir", "data_dir", "private_key_path", "fair_values_file", "curve_key", "token_file")
    for key in (*paths, "tls_certificate", "tls_key", "alerts_urls"):
        default = _extra(key)["default"]
        if isinstance(value := values.get(key, default), str):
            values[key] = cwd / value  # joins without touching the file system, so no text can make it fail
    run_dir = values["run_dir"]
    for key in ENDPOINTS:
        values.setdefault(key, f"ipc://{run_dir}/{key}.sock")
    values.setdefault("mode", "sim" if values.get("env", "sim") == "sim" else "paper")
    if values.get("env", "sim") == "sim":
        port = values.get("sim_port", 5003)
        values.setdefault("api_url", f"http://127.0.0.1:{port}/trade-api/v2")
        values.setdefault("ws_url", f"ws://127.0.0.1:{port}/trade-api/ws/v2")
        values.setdefault("private_key_path", Path(str(run_dir)) / "sim_private_key.pem")


def _contradictions(s: Settings, origin: Mapping[str, str]) -> Iterator[tuple[set[str], str]]:
    """Yield each broken rule between settings: the keys concerned, and the line to print."""

    def name(key: str) -> str:
        return origin.get(key, f"{variable_of(key)} (default)")

    if s.mode == "sim" and s.env != "sim":
        yield {"mode", "env"}, f"{name('env')}: got {s.env!r}, expected 'sim', because mode is 'sim'"
    if s.mode == "live" and s.env == "sim":
        yield {"mode", "env"}, f"{name('env')}: got 'sim', expected 'demo' or 'prod', because mode is 'live'"
    if s.mode == "live" and s.live_confirmation != LIVE_CONFIRMATION:
        yield (
            {"mode", "live_confirmation"},
            f"{name('live_confirmation')}: got {shown(s.live_confirmation)}, expected {LIVE_CONFIRMATION!r}",
        )
    for key, other in (("api_key_id", "private_key_path"), ("private_key_path", "api_key_id")):
        if s.env != "sim" and getattr(s, key) is None and (s.mode == "live" or getattr(s, other) is not None):
            why = "mode is 'live'" if s.mode == "live" else f"{variable_of(other)} is set"
            yield {"mode", "env", key, other}, f"{name(key)}: got nothing, expected a value, because {why}"
    for key, url in (("api_url", s.api_url), ("ws_url", s.ws_url)):
        if s.env == "sim" and url is not None and not is_loopback(urlsplit(url).hostname or ""):
            expected = "a host on loopback, because env is 'sim'"
            yield {"env", key}, f"{name(key)}: got {shown(url)}, expected {expected}"
    if s.stale_after_s <= s.poll_interval_s:
        least = f"more than {s.poll_interval_s:g}, the value of {name('poll_interval_s')}"
        fields = {"stale_after_s", "poll_interval_s"}
        yield fields, f"{name('stale_after_s')}: got {s.stale_after_s:g}, expected {least}"
    for small, large in (
        ("limit_order", "limit_total"),
        ("limit_event", "limit_total"),
        ("gateway_limit_order", "gateway_limit_total"),
        ("gateway_limit_market", "gateway_limit_total"),
    ):
        if getattr(s, small) > getattr(s, large):
            yield (
                {small, large},
                (
                    f"{name(small)}: got {getattr(s, small)}, "
                    f"expected at most {getattr(s, large)}, the value of {name(large)}"
                ),
            )
    for key in ENDPOINTS:
        endpoint: str = getattr(s, key)
        if not endpoint.startswith("tcp://"):
            continue
        if key in ("feed", "state", "query") and s.curve_key is None and tcp_port(endpoint) is None:
            why = f"other machines are reached only with CURVE, and {variable_of('curve_key')} names no key"
            yield {key, "curve_key"}, f"{name(key)}: got {shown(endpoint)}, expected 127.0.0.1: {why}"
        if key not in ("feed", "state", "query") and s.curve_key is not None:
            why = f"with {name('curve_key')}, processes on this machine are reached only by ipc://"
            yield {key, "curve_key"}, f"{name(key)}: got {shown(endpoint)}, expected ipc://: {why}"
    yield from _open_doors(s, name)
    yield from _clashes(s, name)


def _open_doors(s: Settings, name: Callable[[str], str]) -> Iterator[tuple[set[str], str]]:
    """Yield what is missing for the servers to be reached from other machines as the settings ask."""
    if s.token_file is None and not is_loopback(s.bind):
        why = f"other machines are let in only with a token, and {variable_of('token_file')} names no file"
        yield {"bind", "token_file"}, f"{name('bind')}: got {s.bind!r}, expected 127.0.0.1: {why}"
    for key, other in (("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")):
        if getattr(s, key) is None and getattr(s, other) is not None:
            yield {key, other}, f"{name(key)}: got nothing, expected a file, because {name(other)} is set"


def _clashes(s: Settings, name: Callable[[str], str]) -> Iterator[tuple[set[str], str]]:
    """Yield each port or endpoint that two settings claim, in the form of `_contradictions`."""
    taken = {key: f"port {getattr(s, key)}" for key in ("snapshot_port", "past_port", "ui_port", "sim_port")}
    for key in ENDPOINTS:
        endpoint: str = getattr(s, key)
        if endpoint.startswith("tcp://") and (s.curve_key is not None or tcp_port(endpoint) is None):
            continue  # it belongs to another machine
        taken[key] = f"port {port}" if (port := tcp_port(endpoint)) else endpoint
    if s.forward == "yes":
        for key in ("forward_feed", "forward_query"):
            taken[key] = f"port {getattr(s, key).rpartition(':')[2]}"
    for (earlier, theirs), (key, ours) in combinations(taken.items(), 2):
        if ours == theirs:
            yield {key, earlier}, f"{name(key)}: got {ours}, expected one that {name(earlier)} does not use"
