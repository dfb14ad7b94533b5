"""Checks the arguments that say what to run, and makes of them the plans of all runs.

What a run does is decided here once: neither the environment nor a kalshi-bus.toml is read.
"""

import argparse
import inspect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from bus.process.settings import Settings
from bus.process.settings_table import TraderRows
from markets.errors import KalshiBusError, StartupError
from trader.extensions.spec import EXPECTED, Spec, parse
from trader.fair_values import ValuesFile
from trader.lineup import FAMILY

from .inputs import code_id, digest_of, states_of
from .loading import Loaded, loaded
from .outcome import Plan, span
from .recorded import opened
from .simulated import usual_activity
from .spans import Span, shared_ns, spans_of
from .statistics import DAY_MS

MOST_RUNS: Final = 10_000
MOST_MARKETS: Final = 200_000
LONGEST_H: Final = 24 * 366
LONGEST_LATENCY_S: Final = 60.0
LARGEST_SEED: Final = 2**63 - 1
FASTEST_PACE: Final = 100.0

TAKEN: Final = {*inspect.get_annotations(TraderRows), "stale_after_s"} - {"fair_values", "paper_latency_ms"}
"""The settings that a run reads."""

INSTEAD: Final = {
    "data_dir": ": use --out",
    "fair_values": ", which has no processes beside it: use fair_values_file",
    "paper_latency_ms": ": use --latency",
    "sim_markets": ": use --markets",
    "sim_seed": ": use --seeds",
}
"""What takes the place of settings that a run does not read."""


class UsageError(KalshiBusError):
    """An option makes no sense: the message names it, its value and what was expected."""


def plans_of(asked: argparse.Namespace) -> list[Plan]:
    """Return the wanted runs, each once.

    Raises:
        UsageError: an option makes no sense.
        RecordingError: what should be a recording is none, or cannot be played.
        StartupError: a setting or strategy cannot be used.
        OSError: a file of one's own cannot be read.
    """
    recordings = getattr(asked, "recordings", [])
    if bool(recordings) == (asked.simulate is not None):
        raise UsageError("give either recordings or --simulate TIME")
    latencies = _latencies_of(asked.latency, getattr(asked, "latencies", False))
    raw = _settings_of(asked)
    days = _recorded(asked, recordings) if recordings else _simulated(asked)
    count = len(days) * len(latencies) * math.prod(map(len, raw.values()))
    if count > MOST_RUNS:
        raise UsageError(f"that would be {count} runs, expected at most {MOST_RUNS}")
    code, plans = code_id(), dict[str, Plan]()
    for settings, defaults, files in _variants(raw):
        for ms in latencies:
            for day in days:
                plan = replace(
                    day, settings=settings, defaults=defaults, files=files, latency_ms=ms, code=code
                )
                plans.setdefault(plan.name, plan)
    return list(plans.values())


def _recorded(asked: argparse.Namespace, recordings: Iterable[Path]) -> list[Plan]:
    for option in ("seeds", "markets", "rivals", "exchange"):
        if getattr(asked, option) not in (None, []):
            raise UsageError(f"--{option}: only a simulated exchange has that, expected none with recordings")
    plans, held = list[Plan](), dict[str, tuple[Path, list[Span]]]()
    for path in recordings:
        try:
            recording, _ = opened(path)
            digest, spans = digest_of(path), spans_of(recording)
        except OSError as error:
            why = str(error.strerror).removesuffix(", expected a file")
            raise UsageError(f"{path}: {why}, expected a recording") from None
        for known, (other, its_spans) in held.items():
            if digest != known and (ns := shared_ns(spans, its_spans)):
                same = f"{span(ns / 1e6 / DAY_MS)} of the same time are in {other} and in {path}"
                raise UsageError(f"{same}: they are not two samples, give one of them")
        held[digest] = path, spans
        plans.append(Plan(recording=str(path), digest=digest))
    return plans


def _simulated(asked: argparse.Namespace) -> list[Plan]:
    hours, seeds = hours_of(asked.simulate), seeds_of("1" if asked.seeds is None else asked.seeds)
    markets = Plan().markets if asked.markets is None else asked.markets
    if not 1 <= markets <= MOST_MARKETS:
        raise UsageError(f"--markets {markets}: expected 1 to {MOST_MARKETS}")
    exchange = _exchange_of(asked.exchange)
    rivals = {"yes": [True], "no": [False], "both": [True, False]}[asked.rivals or "yes"]
    return [
        Plan(seed=seed, hours=hours, markets=markets, rivals=with_rivals, exchange=exchange)
        for with_rivals in rivals
        for seed in seeds
    ]


def _latencies_of(latency_s: float, also_others: bool) -> list[int]:
    longest_s = LONGEST_LATENCY_S / 2 if also_others else LONGEST_LATENCY_S
    if not 0 <= latency_s <= longest_s:
        of_two = ", as --latencies doubles it" if also_others else ""
        raise UsageError(f"--latency {latency_s:g}: expected seconds, 0 to {longest_s:g}{of_two}")
    ms = round(latency_s * 1000)
    if abs(ms - latency_s * 1000) > 1e-6:
        raise UsageError(f"--latency {latency_s:g}: expected seconds of whole milliseconds")
    if ms == 1 and also_others:
        raise UsageError(
            f"--latency {latency_s:g}: with --latencies, which halves it, expected 0.002 or more"
        )
    return [ms, ms // 2, ms * 2] if also_others else [ms]


def _exchange_of(texts: Sequence[str]) -> dict[str, float]:
    """Return the traits that are not as usual."""
    known = {name: usual for name, usual in asdict(usual_activity()).items() if name != "rivals"}
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name == "rivals":
            raise UsageError(f"--exchange {text}: use --rivals yes, no or both")
        if name not in known:
            expected = f"expected one of {', '.join(sorted(known))}"
            raise UsageError(f"--exchange {text}: there is no {name!r}, {expected}")
        if name in found:
            raise UsageError(f"--exchange {text}: expected {name} once")
        most = FASTEST_PACE if name == "pace" else 1.0
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number <= most or (isinstance(known[name], bool) and number not in (0, 1)):
            numbers = "0 or 1" if isinstance(known[name], bool) else f"a number, 0 to {most:g}"
            raise UsageError(f"--exchange {text}: expected {name}=NUMBER, {numbers}")
        found[name] = abs(number)  # there is also a -0
    return {name: number for name, number in found.items() if number != known[name]}


def hours_of(text: str) -> float:
    """Return the hours in a text such as 30m, 12h or 7d.

    Raises:
        UsageError: it is malformed or out of range.
    """
    unit = {"m": 1 / 60, "h": 1.0, "d": 24.0, "w": 168.0}.get(text[-1:])
    try:
        hours = float(text[:-1]) * unit if unit is not None else math.nan
    except ValueError:
        hours = math.nan
    if not 0 < hours <= LONGEST_H:
        raise UsageError(f"--simulate {text}: expected more than 0 and at most 366d, such as 30m, 12h or 7d")
    return hours


def seeds_of(text: str) -> list[int]:
    """Return the seeds in a text such as ``1..3,7``, each once, in order.

    Raises:
        UsageError: there are none, or too many, or one is too large.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,19})(?:(?:\.\.|-)([0-9]{1,19}))?\s*", part)
        named = range(int(found[1]), int(found[2] or found[1]) + 1) if found else range(0)
        if not named or named[-1] > LARGEST_SEED or len(named) + len(seeds) > MOST_RUNS:
            expected = f"at most {MOST_RUNS}, each at most {LARGEST_SEED}"
            raise UsageError(f"--seeds {text}: expected such as 3, 1..20 or 1,5,9, {expected}")
        seeds.update(dict.fromkeys(named))
    return list(seeds)


# -- settings


def _settings_of(asked: argparse.Namespace) -> dict[str, list[str]]:
    """Return the texts to try, by setting."""
    found: dict[str, list[str]] = {}
    if asked.strategies is not None:
        if not asked.strategies.strip(" ,"):
            raise UsageError(f"--strategies {asked.strategies}: expected {EXPECTED}")
        found["strategies"] = [asked.strategies]
    for text in asked.set:
        name, _, values = text.partition("=")
        key = name.strip().lower().removeprefix("kalshi_bus_")
        parts = values.split(";" if ";" in values else ",")
        if not key or not all(part.strip() for part in parts):
            raise UsageError(f"--set {text}: expected KEY=VALUE or KEY=A,B,C")
        if key in Settings.model_fields and key not in TAKEN:
            raise UsageError(f"--set {text}: a run does not read {key}{INSTEAD.get(key, '')}")
        if key in found:
            raise UsageError(f"--set {text}: {key} is given twice, expected all its values at once")
        found[key] = parts
    return found


class _Variant(NamedTuple):
    """Settings to try: those that decide, those asked for with their default value, and the files read."""

    settings: dict[str, str]
    defaults: dict[str, str]
    files: dict[str, str]


def _variants(raw: Mapping[str, Sequence[str]]) -> list[_Variant]:
    """Return each combination of values once, in one way of writing them.

    So a wrong setting or strategy is reported now, not after an hour.
    """
    usual = Settings.of({}, {}, Path.cwd(), "--set")[0]
    found: dict[tuple[str, ...], Settings] = {}
    for values in product(*raw.values()):
        settings, _ = Settings.of(dict(zip(raw, values, strict=True)), {}, Path.cwd(), "--set")
        found.setdefault(tuple(_text(getattr(settings, key)) for key in raw), settings)
    found_of: dict[tuple[str, ...], Loaded] = {}
    variants = []
    for texts, settings in found.items():
        if settings.strategies not in found_of:
            found_of[settings.strategies] = _strategies_of(settings)
        strategies, files = found_of[settings.strategies]
        if settings.fair_values_file is not None:
            _refuse_unusable(settings.fair_values_file)
            files = files | states_of([_plain(settings.fair_values_file)])
        every = dict(zip(raw, texts, strict=True))
        if "strategies" in every:
            every["strategies"] = strategies
        as_usual = {key: text for key, text in every.items() if text == _text(getattr(usual, key))}
        chosen = {key: text for key, text in every.items() if key not in as_usual}
        variants.append(_Variant(chosen, as_usual, dict(sorted(files.items()))))
    return variants


def _text(value: object) -> str:
    """Return a setting's value as text, the same for all that mean the same."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, Path):
        return str(_plain(value))
    if isinstance(value, Decimal):
        return f"{value.normalize() + 0:f}"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _strategies_of(settings: Settings) -> Loaded:
    """Return the strategies in one way of writing them, the same in any folder, and their files."""
    try:
        return loaded([_spec_of(text).text for text in settings.strategies])
    except StartupError as error:
        raise UsageError(str(error).replace(FAMILY.setting, "--strategies", 1)) from None


def _spec_of(text: str) -> Spec:
    try:
        spec = parse(text, Path.cwd())
    except ValueError:
        raise UsageError(f"--strategies {text}: expected {EXPECTED}") from None
    return spec if spec.path is None else replace(spec, path=_plain(spec.path))


def _plain(path: Path) -> Path:
    """Return the path of a file by its folder's own path. A link stays one: beside it are other modules."""
    return path.parent.resolve() / path.name


def _refuse_unusable(path: Path) -> None:
    file = ValuesFile(path)
    file.look(1 << 62)  # so late that no value is of the future
    if not file.loaded.values:
        problem = (*file.loaded.errors, "there is no value in it, expected at least one")[0]
        raise UsageError(f"--set fair_values_file={path}: {problem}")
