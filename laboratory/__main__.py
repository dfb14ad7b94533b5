"""Run ideas over simulated days and recordings, and compare them. docs/laboratory.md."""

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from bus.process.programs import explain_each, name_of
from bus.process.settings import Settings
from markets.errors import KalshiBusError
from simulator.floor.halts import Activity
from trader.lineup import refuse_unusable

from . import figures, report
from .fill_model import BothWays, both_ways
from .fill_model import table as fill_table
from .outcome import Outcome, Plan, names
from .runs import Store, code_id, digest_of, make_dir, variants
from .statistics import walk_forward
from .sweep import sweep

PREFIX: Final = "KALSHI_BUS_"
MOST_RUNS: Final = 10_000
LONGEST_H: Final = 24 * 366


class UsageError(KalshiBusError):
    """An option makes no sense: the message names it, its value and what was expected."""


def main(arguments: Sequence[str]) -> int:
    """Carry out a command line; return the exit code."""
    asked = parser().parse_args(arguments)
    try:
        return int(asked.do(asked, arguments))
    except KalshiBusError as error:
        print(f"laboratory: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"laboratory: {error}. Finished runs are kept: run it again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped: finished runs are kept, the same command continues from there", file=sys.stderr)
        return 130


def _name_of_run() -> str:
    name = name_of("laboratory")
    return name if name.endswith("backtest") else f"{name} run"


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog=name_of("laboratory"), description=__doc__)
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    # `kalshi-bus backtest` is `run` already.
    run = commands.add_parser("run", help="do runs and write a report", prog=_name_of_run())
    _add_what(run)
    run.add_argument("recordings", nargs="*", type=Path, help="recordings, instead of --simulate")
    run.add_argument("--latencies", action="store_true", help="also run at half and double the latency")
    run.add_argument(
        "--walk-forward", type=int, metavar="PARTS", help="choose on one part of the seeds, judge on the next"
    )
    run.add_argument(
        "--processes", type=int, default=max(1, os.cpu_count() or 1), help="runs at a time (%(default)s)"
    )
    run.add_argument(
        "--out", type=Path, help="folder for results and report (default: in the data directory)"
    )
    run.add_argument("--title", default="Laboratory report", help="title of the report")
    run.set_defaults(do=_run)
    compare = commands.add_parser("compare", help="compare two or more folders of results")
    compare.add_argument("folders", nargs="+", type=Path, help="results of backtests")
    compare.add_argument("--out", type=Path, required=True, help="folder of the report")
    compare.set_defaults(do=_compare)
    fills = commands.add_parser("fills", help="measure the error of the fill model for recordings")
    _add_what(fills)
    fills.set_defaults(do=_fills)
    explain_each(commands)
    return root


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--simulate", metavar="TIME", help="how much time to simulate: 30m, 12h, 7d")
    parser.add_argument("--seeds", "--seed", default="1", help="seeds: 3, or 1..20, or 1,5,9 (%(default)s)")
    parser.add_argument(
        "--markets", type=int, default=1_500, help="markets of the simulated exchange (%(default)s)"
    )
    parser.add_argument(
        "--rivals", choices=("yes", "no", "both"), default="yes", help="whether others compete (%(default)s)"
    )
    parser.add_argument(
        "--latency", type=float, default=0.5, help="seconds from a decision to the exchange (%(default)s)"
    )
    parser.add_argument("--strategies", "--strategy", help="what trades, written as in KALSHI_BUS_STRATEGIES")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=A,B",
        help="values of a setting; separate them by ';' if they contain commas",
    )
    parser.add_argument(
        "--exchange",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="a trait of the simulated exchange, such as void_rate=0.05",
    )


def plans_of(asked: argparse.Namespace) -> list[Plan]:
    """Return the wanted runs.

    Raises:
        UsageError: an option makes no sense.
        StartupError: a setting or strategy cannot be used.
    """
    if asked.latency < 0 or not math.isfinite(asked.latency) or asked.latency > 3600:
        raise UsageError(f"--latency {asked.latency}: expected seconds, 0 to 3600")
    recordings = getattr(asked, "recordings", [])
    if bool(recordings) == bool(asked.simulate):
        raise UsageError("give either recordings or --simulate TIME")
    settings: dict[str, Sequence[str]] = {}
    if asked.strategies is not None:
        settings[f"{PREFIX}STRATEGIES"] = [asked.strategies]
    for text in asked.set:
        name, equals, values = text.partition("=")
        if not equals or not name or not values:
            raise UsageError(f"--set {text}: expected KEY=VALUE or KEY=A,B,C")
        settings[PREFIX + name.upper().removeprefix(PREFIX)] = values.split(";" if ";" in values else ",")
    latency_ms = round(asked.latency * 1000)
    latencies = [latency_ms]
    if getattr(asked, "latencies", False):
        latencies += [latency_ms // 2, latency_ms * 2]
    code = code_id()
    each = variants(settings)
    for chosen in each:  # report a wrong setting or strategy now, not after an hour
        loaded = Settings.load({**chosen, f"{PREFIX}MODE": "paper"}, Path.cwd())
        refuse_unusable(loaded.strategies, Path.cwd())
    if recordings:
        return [
            Plan(
                recording=str(path),
                seed=number,  # its place in the list, which tells the runs of a variant apart, like a seed
                digest=digest_of(path),
                latency_ms=ms,
                settings=chosen,
                code=code,
            )
            for chosen in each
            for ms in latencies
            for number, path in enumerate(recordings, 1)
        ]
    rivals = {"yes": [True], "no": [False], "both": [True, False]}[asked.rivals]
    exchange, hours, seeds = _exchange_of(asked.exchange), hours_of(asked.simulate), seeds_of(asked.seeds)
    if not 1 <= asked.markets <= 200_000:
        raise UsageError(f"--markets {asked.markets}: expected 1 to 200000")
    count = len(each) * len(rivals) * len(latencies) * len(seeds)
    if count > MOST_RUNS:
        raise UsageError(f"that would be {count} runs, expected at most {MOST_RUNS}")
    return [
        Plan(
            seed=seed,
            hours=hours,
            markets=asked.markets,
            rivals=with_rivals,
            latency_ms=ms,
            settings=chosen,
            exchange=exchange,
            code=code,
        )
        for chosen in each
        for with_rivals in rivals
        for ms in latencies
        for seed in seeds
    ]


def _exchange_of(texts: Sequence[str]) -> dict[str, float]:
    known = {field.name for field in fields(Activity)}
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            raise UsageError(
                f"--exchange {text}: there is no {name!r}, expected one of {', '.join(sorted(known))}"
            )
        try:
            found[name] = float(value)
        except ValueError:
            raise UsageError(f"--exchange {text}: expected {name}=NUMBER") from None
    return found


def hours_of(text: str) -> float:
    """Return the hours in a text such as 30m, 12h or 7d.

    Raises:
        UsageError: it is malformed or out of range.
    """
    unit = {"m": 1 / 60, "h": 1.0, "d": 24.0, "w": 168.0}.get(text[-1:])
    try:
        hours = float(text[:-1]) * unit if unit is not None else float("nan")
    except ValueError:
        hours = float("nan")
    if not 0 < hours <= LONGEST_H:
        raise UsageError(f"--simulate {text}: expected more than 0 and at most 366d, such as 30m, 12h or 7d")
    return hours


def seeds_of(text: str) -> list[int]:
    """Return the seeds in a text such as ``1..3,7``, each once, in order.

    Raises:
        UsageError: there are none, or too many.
    """
    seeds: dict[int, None] = {}
    try:
        for part in text.split(","):
            first, _, last = part.replace("..", "-").partition("-")
            named = range(int(first), int(last or first) + 1)
            if len(named) + len(seeds) > MOST_RUNS:
                raise ValueError
            seeds.update(dict.fromkeys(named))
    except ValueError:
        seeds = {}
    if not seeds:
        raise UsageError(f"--seeds {text}: expected such as 3, 1..20 or 1,5,9, at most {MOST_RUNS}")
    return list(seeds)


def _run(asked: argparse.Namespace, arguments: Sequence[str]) -> int:
    plans = plans_of(asked)
    if asked.processes < 1:
        raise UsageError(f"--processes {asked.processes}: expected 1 or more")
    command = shlex.join(["kalshi-bus", "backtest", *arguments[1:]])
    folder: Path = (
        asked.out or Settings.load(dict(os.environ), Path.cwd()).data_dir / "laboratory" / plans[0].name
    )
    store = Store(folder)
    outcomes = _do(plans, store, asked.processes)
    order = {plan.name: number for number, plan in enumerate(plans)}
    outcomes.sort(key=lambda outcome: order[outcome.plan.name])
    try:
        chosen = walk_forward(outcomes, asked.walk_forward) if asked.walk_forward is not None else []
    except ValueError as error:
        raise UsageError(f"--walk-forward {asked.walk_forward}: {error}") from None
    made = figures.report(outcomes, asked.title, command, plans[0].code, chosen)
    page = report.write(made, outcomes, folder)
    _tell(made)
    print(f"\n{page}")
    return 1 if any(outcome.error or outcome.differs for outcome in outcomes) else 0


def _do(plans: Sequence[Plan], store: Store, processes: int) -> list[Outcome]:
    outcomes: list[Outcome] = []
    began_s, first = time.monotonic(), None
    for done, outcome in sweep(plans, store, processes):
        if outcome is not None:
            outcomes.append(outcome)
        if first is None:
            first = done.part
        passed_s, share = time.monotonic() - began_s, done.part - first
        left = f", {_span((1 - done.part) / share * passed_s)} left" if share > 0.001 else ""
        bar = "#" * int(30 * done.part)
        line = f"[{bar:<30}] {done.part:4.0%}, {done.runs} of {done.of} runs{left}"
        if sys.stderr.isatty():
            print(f"\r{line:<78}", end="", file=sys.stderr, flush=True)
        elif outcome is not None:
            print(line, file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return outcomes


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _tell(made: figures.Report) -> None:
    heads = f"{'profit a day':>14} {'95 %':>9} {'runs':>5} {'settled':>8} {'expected':>10} {'got':>10}"
    print(f"{heads} {'missed':>7}  variant")
    for one in made.variants:
        half = "" if one.a_day.half is None else f"{one.a_day.half:.2f}"
        p = one.promise
        missed = f"{p.missed / (p.even + p.missed):.0%}" if p.even + p.missed else ""
        print(
            f"{one.a_day.mean:>14.2f} {half:>9} {one.runs:>5} {p.settled:>8} {p.promised_e6 / 1e6:>10.2f}"
            f" {p.got_e6 / 1e6:>10.2f} {missed:>7}  {one.name}"
        )
        for line in [*one.errors, *one.differs, *one.failures[:3]]:
            print(f"    {line}")


def _compare(asked: argparse.Namespace, arguments: Sequence[str]) -> int:
    outcomes: list[Outcome] = []
    for folder in asked.folders:
        if not (folder / "runs").is_dir():
            raise UsageError(
                f"{folder}: there are no results in it, expected a folder written by `run --out`"
            )
        found = Store(folder).all()
        if not found:
            raise UsageError(f"{folder}: none of its results can be read")
        outcomes += found
    unique = {outcome.plan.name: outcome for outcome in outcomes}
    ordered = list(unique.values())
    make_dir(asked.out)
    command = shlex.join(["kalshi-bus", "laboratory", *arguments])
    made = figures.report(ordered, "Laboratory comparison", command, ordered[0].plan.code)
    print(report.write(made, ordered, asked.out))
    _tell(made)
    return 0


def _fills(asked: argparse.Namespace, arguments: Sequence[str]) -> int:
    if not asked.simulate:
        raise UsageError("give --simulate TIME")
    plans = plans_of(asked)
    called, runs = names(plans), dict[str, list[BothWays]]()
    for number, plan in enumerate(plans, 1):
        runs.setdefault(plan.variant, []).append(both_ways(plan))
        print(f"{number} of {len(plans)} days done", file=sys.stderr, flush=True)
    for variant, of_variant in runs.items():
        print(f"{called[variant]}\n{fill_table(of_variant)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
