"""Run ideas over simulated days and recordings, and compare them. docs/laboratory.md."""

import argparse
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bus.process.programs import explain_each, name_of
from bus.process.settings import Settings
from bus.process.streams import open_missing
from markets.errors import KalshiBusError
from markets.texts import one_line

from . import figures, report
from .fill_model import BothWays, at_exchange, on_paper
from .fill_model import table as fill_table
from .outcome import Outcome, Plan, name_of_all, names
from .plans import UsageError, plans_of
from .processes import Failed, Task, carried_out
from .runs import SUFFIX, Store, is_same, make_dir
from .statistics import Chosen, parts_of, walk_forward, worlds
from .sweep import sweep


def main(arguments: Sequence[str]) -> int:
    """Carry out a command line; return the exit code."""
    open_missing()
    asked = parser().parse_args(arguments)
    try:
        _refuse_bytes(arguments)
        return int(asked.do(asked, arguments))
    except KalshiBusError as error:
        print(f"laboratory: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        kept = ". Finished runs are kept: run it again." if asked.keeps else ""
        print(f"laboratory: {one_line(str(error))}{kept}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = ": finished runs are kept, the same command continues from there" if asked.keeps else ""
        print(f"\nstopped{kept}", file=sys.stderr)
        return 130


def _refuse_bytes(arguments: Sequence[str]) -> None:
    for text in arguments:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{text!a}: expected text in UTF-8") from None


def _name_of_run() -> str:
    name = name_of("laboratory")
    return name if name.endswith("backtest") else f"{name} run"


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog=name_of("laboratory"), description=__doc__)
    root.set_defaults(keeps=False)  # whether runs are kept by now
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
    parser.add_argument(
        "--processes", type=int, default=max(1, os.cpu_count() or 1), help="runs at a time (%(default)s)"
    )
    parser.add_argument("--simulate", metavar="TIME", help="how much time to simulate: 30m, 12h, 7d")
    parser.add_argument("--seeds", "--seed", help="seeds of simulated days: 3, or 1..20, or 1,5,9 (1)")
    parser.add_argument("--markets", type=int, help="markets of the simulated exchange (1500)")
    parser.add_argument(
        "--rivals", choices=("yes", "no", "both"), help="whether others compete at the exchange (yes)"
    )
    parser.add_argument(
        "--latency", type=float, default=0.5, help="seconds from a decision to the exchange (%(default)s)"
    )
    parser.add_argument("--strategies", "--strategy", help="what trades, written as in the setting (baskets)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=A,B",
        help="values of a setting, separated by ';' if they contain commas. Neither the environment nor a"
        " kalshi-bus.toml counts: all other settings have their defaults",
    )
    parser.add_argument(
        "--exchange",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="a trait of the simulated exchange, such as void_rate=0.05",
    )


def _run(asked: argparse.Namespace, arguments: Sequence[str]) -> int:
    plans = plans_of(asked)
    _refuse_processes(asked)
    if asked.walk_forward is not None:
        try:
            for cases in worlds(plans):
                parts_of(cases, asked.walk_forward)
        except ValueError as error:
            raise UsageError(f"--walk-forward {asked.walk_forward}: {error}") from None
    command = shlex.join(["kalshi-bus", "backtest", *arguments[1:]])
    folder: Path = asked.out or _kept_in() / name_of_all(plans)
    store = Store(folder)
    asked.keeps = True
    if asked.out is None:
        _take_over(plans, store)
    outcomes = _do(plans, store, asked.processes)
    order = {plan.name: number for number, plan in enumerate(plans)}
    outcomes.sort(key=lambda outcome: order[outcome.plan.name])
    chosen, notes = list[Chosen](), list[str]()
    if asked.walk_forward is not None:
        try:
            chosen = walk_forward(outcomes, asked.walk_forward)
        except ValueError as error:  # runs failed; the others have figures all the same
            notes.append(f"There is no walk-forward: of the runs that succeeded, {error}.")
    made = figures.report(outcomes, asked.title, command, chosen, notes)
    page = report.write(made, outcomes, folder)
    _tell(made)
    print(f"\n{page}")
    return 1 if any(outcome.error or outcome.differs for outcome in outcomes) else 0


def _refuse_processes(asked: argparse.Namespace) -> None:
    if asked.processes < 1:
        raise UsageError(f"--processes {asked.processes}: expected 1 or more")


def _kept_in() -> Path:
    """Return where the results of commands without --out are kept, each command's in a folder of its own."""
    return Settings.load(dict(os.environ), Path.cwd()).data_dir / "laboratory"


def _take_over(plans: Sequence[Plan], store: Store) -> None:
    """Take from the folders of other commands what they have done already."""
    found = {path.name: path for path in _kept_in().glob(f"*/{store.folder.name}/*{SUFFIX}")}
    for plan in plans:
        path = found.get(f"{plan.name}{SUFFIX}")
        if path is not None and path.parent != store.folder and store.get(plan) is None:
            outcome = Store(path.parents[1]).get(plan)
            if outcome is not None:
                store.put(outcome)


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
    for line in made.notes:
        print(one_line(line))
    heads = f"{'profit a day':>14} {'95 %':>9} {'runs':>5} {'settled':>8} {'expected':>10} {'got':>10}"
    print(f"{heads} {'missed':>7}  variant")
    for one in made.variants:
        half = "" if one.a_day.half is None else f"{one.a_day.half:.2f}"
        p = one.promise
        missed = f"{p.missed / (p.even + p.missed):.0%}" if p.even + p.missed else ""
        sums = (one.a_day.mean, p.promised_e6 / 1e6, p.got_e6 / 1e6)
        mean, promised, got = (f"{dollars:.2f}" if one.runs else "-" for dollars in sums)
        line = f"{mean:>14} {half:>9} {one.runs:>5} {p.settled:>8} {promised:>10} {got:>10} {missed:>7}"
        print(f"{line}  {one_line(one.name)}")
        for line in [*one.errors, *one.differs, *one.failures[:3]]:
            print(f"    {one_line(line)}")


def _compare(asked: argparse.Namespace, arguments: Sequence[str]) -> int:
    outcomes, others, apart = dict[str, Outcome](), list[Path](), list[str]()
    for folder in asked.folders:
        if folder.resolve() == asked.out.resolve():
            raise UsageError(f"--out {asked.out}: its own report would be lost, expected another folder")
        if not (folder / "runs").is_dir():
            raise UsageError(
                f"{folder}: there are no results in it, expected a folder written by `run --out`"
            )
        found = Store(folder).all(others)
        if not found:
            raise UsageError(f"{folder}: none of its results can be read")
        found.sort(key=_place_of)
        for outcome in found:
            known = outcomes.setdefault(outcome.plan.name, outcome)
            if known.error and not outcome.error:
                outcomes[outcome.plan.name] = outcome
            elif not outcome.error and not is_same(known, outcome):
                apart.append(f"{outcome.plan.case} of {folder}")
    notes = [
        f"Differs from the same run of another folder, which is shown: {what}. Something else than its inputs"
        " decided it: a clock, an unseeded random number, a file that a strategy opened?"
        for what in apart
    ]
    notes += [f"Left out, as it cannot be read or is of another version: {path}." for path in others]
    make_dir(asked.out)
    command = shlex.join(["kalshi-bus", "laboratory", *arguments])
    made = figures.report([*outcomes.values()], "Laboratory comparison", command, notes=notes)
    page = report.write(made, [*outcomes.values()], asked.out)
    _tell(made)
    print(f"\n{page}")
    failed = any(outcome.error or outcome.differs for outcome in outcomes.values())
    return 1 if failed or others or apart else 0


def _place_of(outcome: Outcome) -> tuple[list[str | float], int, str]:
    """Return where an outcome stands among those of a folder: what has numbers goes by their size."""
    plan = outcome.plan
    parts = re.split(r"([0-9]+(?:\.[0-9]+)?)", plan.variant)  # numbers are at odd places
    return [float(part) if at % 2 else part for at, part in enumerate(parts)], plan.seed, plan.recording


def _fills(asked: argparse.Namespace, arguments: Sequence[str]) -> int:
    if not asked.simulate:
        raise UsageError("give --simulate TIME")
    plans = plans_of(asked)
    _refuse_processes(asked)
    exchange = _way(plans, at_exchange, "at the exchange", asked.processes)
    paper = _way(plans, on_paper, "on paper", asked.processes)
    called, runs, ok = names(plans), dict[str, list[BothWays]](), True
    for number, plan in enumerate(plans):
        if number in exchange and number in paper:
            both = BothWays(exchange[number], paper[number])
            runs.setdefault(plan.variant, []).append(both)
            ok = ok and not both.exchange.outcome.differs
        else:
            ok = False
    for variant, of_variant in runs.items():
        print(f"{called[variant]}\n{fill_table(of_variant)}\n")
        for both in of_variant:
            for way, outcome in (("exchange", both.exchange.outcome), ("paper", both.paper)):
                for line in [*outcome.differs, *outcome.failures[:3]]:
                    print(f"    {outcome.plan.case}, {way}: {line}")
    return 0 if ok else 1


def _way(plans: Sequence[Plan], task: Task, way: str, processes: int) -> dict[int, Any]:
    """Carry out plans one way, and return the results by number; say which failed."""
    found: dict[int, Any] = {}
    done = 0
    with closing(carried_out(plans, task, processes)) as told:
        for number, said in told:
            if isinstance(said, float):
                continue
            done += 1
            if isinstance(said, Failed):
                print(f"{plans[number].case}, {way}: {said.error}", file=sys.stderr)
            else:
                found[number] = said
            print(f"{way}: {done} of {len(plans)} days done", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
