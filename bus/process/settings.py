"""Every setting of every process, loaded and checked: one frozen `Settings`. Its rows: settings_table.py.

Defaults there < ``kalshi-bus.toml`` in the working directory (or the file KALSHI_BUS_CONFIG names) <
environment. A key that is not in the table refuses the start, and so does a wrong value; the error lists
all problems at once. Kalshi's hosts are not here: only ``publisher/`` knows them.
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
"""Settings whose wrong values are never repeated, nor described."""

_PREFIX: Final = "KALSHI_BUS_"
_CONFIG_VARIABLE: Final = "KALSHI_BUS_CONFIG"
_VARIABLES: Final = {"api_key_id": "KALSHI_API_KEY_ID", "private_key_path": "KALSHI_PRIVATE_KEY_PATH"}
"""Variables outside our prefix: the names Kalshi's own tools use."""


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
    """All settings of one process, validated and immutable. Made by `Settings.load` only."""

    @property
    def sim_key_id_path(self) -> Path:
        """Where the simulator writes the id of the key that belongs to `private_key_path`."""
        return self.run_dir / "sim_key_id"

    @property
    def recording(self) -> Path:
        """The folder of the recording that `make run` keeps."""
        return self.data_dir / "recording"

    @property
    def keyring(self) -> Path:
        """The folder of the forwarder's keys: its own, and who is let in."""
        return self.data_dir / "curve"

    @classmethod
    def load(cls, environ: Mapping[str, str], cwd: Path) -> Self:
        """Return the settings of a process with this environment and working directory.

        An empty variable counts as not set, and so does white space at the ends of a value; relative paths
        start at `cwd`.

        Raises:
            SettingsError: with every problem found, each naming key, origin, value and what was expected.
        """
        return cls.with_origins(environ, cwd)[0]

    @classmethod
    def with_origins(cls, environ: Mapping[str, str], cwd: Path) -> tuple[Self, dict[str, str]]:
        """Return what `load` returns, and where each setting was set: by key, the user's name and place.

        Raises:
            SettingsError: as `load`.
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
        """Return what `with_origins` returns, for what was read from a file of this name.

        Raises:
            SettingsError: as `load`; `problems`, those of the reading, are in it.
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
        for variable, text in environ.items():
            if variable in variables and text.strip():
                key = variables[variable]
                values[key], origin[key] = text.strip(), f"{variable} (environment)"
            elif variable.startswith(_PREFIX) and variable not in {*variables, _CONFIG_VARIABLE}:
                # The value is not repeated: it may be a secret in the wrong place.
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
        """Return the settings, bad values replaced by defaults so that the rest can be checked too."""
        bad: set[str] = set()
        folder = cwd
        while True:
            good = {key: value for key, value in values.items() if key not in bad}
            _derive(good, folder)
            try:
                return cls(**good), bad  # type: ignore[arg-type]
            except ValidationError as error:
                details = {str(detail["loc"][0]): detail for detail in error.errors(include_url=False)}
            # What follows from another setting is wrong only if that one is, and only that one is reported.
            told = [key for key in details if key in values and key not in bad]
            if not told:  # everything left follows from the working directory
                assert folder is cwd, f"nothing is wrong with the root of the file system: {[*details]}"
                told, folder = ["run_dir" if "run_dir" in details else next(iter(details))], Path("/")
            for key in told:
                detail = details[key]
                reason = f" ({detail['ctx']['error']})" if detail["type"] == "value_error" else ""
                problems.append(_refusal(key, origin, good[key], reason))
            bad.update(told)


class Effective(NamedTuple):
    """A setting in effect: its key, its value as it may be shown, and where it was set."""

    key: str
    value: str
    origin: str


def effective(settings: Settings, origin: Mapping[str, str]) -> list[Effective]:
    """Return every setting in effect, in the table's order, none of them showing a secret.

    Args:
        origin: as from `Settings.with_origins`.
    """
    rows = []
    for key in Settings.model_fields:
        value = getattr(settings, key)
        if key == "api_key_id":
            said = "" if value is None else f"({len(value)} characters, hidden)"
        elif key == "private_key_path" and value is not None:
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
    """Return a setting in dollars as int of $0.000001."""
    return int(dollars * 1_000_000)


def _groups() -> Iterator[tuple[str, list[str]]]:
    """Yield the topic of each part of the table, and its keys, in the order of the file."""
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
    """Return the Markdown tables of all settings, as docs/settings.md shows them (a test compares them)."""
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
        "# Settings of kalshi-bus. Copy this to kalshi-bus.toml in the folder where you start, and take",
        "# the # away from what you change. The environment (KALSHI_BUS_...) comes before this file.",
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
                shown = ""  # it follows from others
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
        # Not blocking: a FIFO in its place would be waited for, and a device read for ever.
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
            problems.append(f"{said}: is UTF-16, expected UTF-8: save it so")
            return {}
        return tomllib.loads(content.decode("utf-8-sig"))  # -sig: editors on Windows write a mark in front
    except FileNotFoundError:
        if required:
            problems.append(f"{_CONFIG_VARIABLE} (environment): got {said}, expected a file that exists")
    except OSError as error:
        problems.append(f"{said}: cannot be read: {error.strerror}")
    except RecursionError:
        problems.append(f"{said}: not TOML that can be read: too many brackets in each other")
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError, and a zero byte in the path
        problems.append(f"{said}: not TOML: {redact(str(error))}")
    return {}


def _derive(values: dict[str, object], cwd: Path) -> None:
    """Fill in the defaults that follow from other settings, and make paths absolute."""
    paths = ("run_dir", "data_dir", "private_key_path", "fair_values_file", "curve_key", "token_file")
    for key in (*paths, "alerts_urls"):
        default = _extra(key)["default"]
        if isinstance(value := values.get(key, default), str):
            values[key] = cwd / value  # joins without looking anything up: no text can make it fail
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
    """Yield each broken rule between settings: the keys it is about, and the line to print."""

    def name(key: str) -> str:
        return origin.get(key, f"{variable_of(key)} (default)")

    if s.mode == "sim" and s.env != "sim":
        yield {"mode", "env"}, f"{name('env')}: got {s.env!r}, expected 'sim': mode 'sim' trades there only"
    if s.mode == "live" and s.env == "sim":
        yield {"mode", "env"}, f"{name('env')}: got 'sim', expected 'demo' or 'prod': mode is 'live'"
    if s.mode == "live" and s.live_confirmation != LIVE_CONFIRMATION:
        yield (
            {"mode", "live_confirmation"},
            f"{name('live_confirmation')}: got {shown(s.live_confirmation)}, expected {LIVE_CONFIRMATION!r}",
        )
    for key, other in (("api_key_id", "private_key_path"), ("private_key_path", "api_key_id")):
        if s.env != "sim" and getattr(s, key) is None and (s.mode == "live" or getattr(s, other) is not None):
            why = "mode is 'live'" if s.mode == "live" else f"{variable_of(other)} is set"
            yield {"mode", "env", key, other}, f"{name(key)}: got nothing, expected a value: {why}"
    for key, url in (("api_url", s.api_url), ("ws_url", s.ws_url)):
        if s.env == "sim" and url is not None and not is_loopback(urlsplit(url).hostname or ""):
            yield {"env", key}, f"{name(key)}: got {shown(url)}, expected a host on loopback: env is 'sim'"
    if s.stale_after_s <= s.poll_interval_s:
        least = f"more than {s.poll_interval_s:g}, {name('poll_interval_s')}"
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
                f"{name(small)}: got {getattr(s, small)}, expected at most {name(large)} {getattr(s, large)}",
            )
    for key in ENDPOINTS:
        endpoint: str = getattr(s, key)
        if not endpoint.startswith("tcp://"):
            continue
        if key in ("feed", "state", "query") and s.curve_key is None and tcp_port(endpoint) is None:
            why = f"off loopback nothing goes without CURVE, and {variable_of('curve_key')} names no key"
            yield {key, "curve_key"}, f"{name(key)}: got {shown(endpoint)}, expected 127.0.0.1: {why}"
        if key not in ("feed", "state", "query") and s.curve_key is not None:
            why = f"with {name('curve_key')} what is on this machine is reached by ipc:// only"
            yield {key, "curve_key"}, f"{name(key)}: got {shown(endpoint)}, expected ipc://: {why}"
    if s.token_file is None and not is_loopback(s.bind):
        why = f"other machines are let in with a token only, and {variable_of('token_file')} names no file"
        yield {"bind", "token_file"}, f"{name('bind')}: got {s.bind!r}, expected 127.0.0.1: {why}"
    yield from _clashes(s, name)


def _clashes(s: Settings, name: Callable[[str], str]) -> Iterator[tuple[set[str], str]]:
    """Yield the ports and endpoints claimed by two settings."""
    taken = {key: f"port {getattr(s, key)}" for key in ("snapshot_port", "past_port", "ui_port", "sim_port")}
    for key in ENDPOINTS:
        endpoint: str = getattr(s, key)
        if endpoint.startswith("tcp://") and (s.curve_key is not None or tcp_port(endpoint) is None):
            continue  # of another machine
        taken[key] = f"port {port}" if (port := tcp_port(endpoint)) else endpoint
    if s.forward == "yes":
        for key in ("forward_feed", "forward_query"):
            taken[key] = f"port {getattr(s, key).rpartition(':')[2]}"
    for (earlier, theirs), (key, ours) in combinations(taken.items(), 2):
        if ours == theirs:
            yield {key, earlier}, f"{name(key)}: got {ours}, expected one that {name(earlier)} does not have"
