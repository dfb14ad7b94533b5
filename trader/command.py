"""Ask and command a running trader, trade by hand, and read and check its journal. docs/trader.md."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.ask import NoAnswer, ask
from bus.clock import SystemClock
from bus.process.lifecycle import EXIT_CRASHED, EXIT_REFUSED, refuse
from bus.process.locks import hold_role, private_dir
from bus.process.logs import hide
from bus.process.programs import explain_each, name_of, to_type
from bus.process.settings import Settings, variable_of
from bus.protocol.answers import Refusal
from bus.sockets import make_context
from bus.trading.ended import EndedStrategies
from bus.trading.gateway import OrderAnswer, OrderAsk
from bus.trading.killswitch import BY_HAND, WORD, KillSwitch
from bus.trading.shapes import (
    AnyCommand,
    CommandAnswer,
    KillCommand,
    PauseCommand,
    ReportAnswer,
    ResumeCommand,
    TraderStatus,
    told,
)
from markets.errors import BadRecord, DecodeError, KalshiBusError, SettingsError, StartupError
from markets.texts import utf8
from markets.units import format_money
from trader.engine.replay import BookedRow, replay
from trader.journal.reader import Reader, readable
from trader.journal.schema import build_id
from trader.ledger.ledger import LedgerError

from . import by_hand, reconcile
from .attribution import account_of, as_text, days_in
from .cash import cash
from .explain import explain_order, explain_untraded, order_text, untraded_text
from .extensions.load import Extension, build_of
from .fair_values.hosted import hosted, names_taken, start_sources
from .fair_values.values_file import SOURCE, ValuesFile
from .lineup import line_up, load_strategy
from .minder import Minder, Running, Watch
from .opening import newest_journal
from .strategies import Strategy
from .tax import as_csv, closed_in

TIMEOUT_MS = 3_000
READS_MAX = 500
ROWS_MAX: Final = 20
_IS_UP: Final = f"does a trader run here? {to_type('doctor')}"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    root = argparse.ArgumentParser(prog=name_of("trader"), description=__doc__)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("status", help="print the trader's status as JSON")
    for name, text in (("pause", "stop trading until resume"), ("kill", "stop trading, whatever restarts")):
        commands.add_parser(name, help=text).add_argument(
            "reason", nargs="*", help="shown wherever it is asked why"
        )
    resume = commands.add_parser("resume", help=f"trade again; after a kill or the daily loss: resume {WORD}")
    resume.add_argument("word", nargs="?", default="", help=f"{WORD}, where it is needed")
    allow = commands.add_parser("allow", help="allow an ended strategy to be loaded again")
    allow.add_argument("name", help="of the strategy, or as in the settings")
    commands.add_parser("check", help="load the settings' strategies and sources, and say what is wrong")
    checking = commands.add_parser("reconcile", help="check the journal's sums, and it against the exchange")
    checking.add_argument("--json", action="store_true", help="print it as JSON")
    explaining = commands.add_parser("explain", help="an order's black box, or why something was not traded")
    explaining.add_argument("what", type=utf8, help="number of an order, ticker of a market or of an event")
    explaining.add_argument("--json", action="store_true", help="print it as JSON")
    reporting = commands.add_parser("report", help="profit by strategy, kind, source, series and day")
    for name, text in (("since", "the first"), ("until", "the last")):
        reporting.add_argument(f"--{name}", metavar="DAY", help=f"{text} day (UTC), like 2026-01-31")
    reporting.add_argument("--json", action="store_true", help="print it as JSON")
    taxed = commands.add_parser("tax", help="the tax lots closed in a year, first in first out, as CSV")
    taxed.add_argument("year", type=int, help="such as 2026")
    taxed.add_argument("--csv", metavar="FILE", help="write to this file instead of the output")
    moving = commands.add_parser("cash", help="cash of each shard, and what to move where orders lack it")
    moving.add_argument(
        "--want", action="append", default=[], metavar="SHARD=DOLLARS", help="cash to have free there"
    )
    moving.add_argument("--move", action="store_true", help="carry out the plan; needs --yes")
    moving.add_argument("--yes", action="store_true", help="money is moved without asking again")
    by_hand.add_parsers(commands)
    commands.add_parser("verify", help="decide every input of the journal again and compare")
    explain_each(commands)
    return root


def command(arguments: Sequence[str]) -> int:
    """Carry out one command; return the exit code: 0 done, 1 not done, 2 refused."""
    parsed = parser().parse_args(arguments)
    try:
        settings = Settings.load(os.environ, Path.cwd())
        hide(settings.api_key_id)
        match parsed.command:
            case "reconcile":
                return _reconcile(settings, as_json=parsed.json)
            case "verify":
                return _verify(settings)
            case "check":
                return _check(settings)
            case "allow":
                return _allow(settings, parsed.name)
            case "explain":
                return _explain(settings, parsed.what, as_json=parsed.json)
            case "report":
                return _report(settings, parsed.since, parsed.until, as_json=parsed.json)
            case "tax":
                return _tax(settings, parsed.year, parsed.csv)
            case "cash" | "prepare" | "confirm" | "adopt":
                return _with_sockets(settings, parsed)
        return _ask(settings, parsed)
    except (SettingsError, StartupError) as error:
        return refuse("trader", error)
    except BadRecord as error:
        print(f"trader: {error}", file=sys.stderr)
        return EXIT_REFUSED


def _with_sockets(settings: Settings, parsed: argparse.Namespace) -> int:
    """Carry out a command that asks a running trader or gateway."""
    context = make_context()
    try:
        if parsed.command == "cash":
            return cash(settings, parsed.want, context, move=parsed.move, yes=parsed.yes)
        return by_hand.by_hand(settings, parsed, context)
    except Refusal as refusal:
        print(f"trader: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    except (NoAnswer, DecodeError) as error:
        asks_trader = isinstance(error, NoAnswer) and parsed.command != "cash"
        print(f"trader: {error}{f': {_IS_UP}' if asks_trader else ''}", file=sys.stderr)
        return EXIT_CRASHED
    finally:
        context.term()


def _explain(settings: Settings, what: str, *, as_json: bool) -> int:
    path = _journal_of(settings)
    if what.isdecimal() and what.isascii() and len(what) <= 15:
        found = explain_order(path, int(what), lambda journal, number: _gateway_of(settings, journal, number))
        text = order_text
    else:
        found, text = explain_untraded(path, what), untraded_text
    print(json.dumps(found, indent=2) if as_json else text(found))
    return 0


def _gateway_of(settings: Settings, journal: str, number: int) -> dict[str, Any] | None:
    """Return what the order gateway knows of an order; None if no gateway answers."""
    if settings.mode == "paper":
        return None
    context = make_context()
    try:
        question = msgspec.to_builtins(OrderAsk(journal=journal, number=number))
        answer = told(ask(context, settings.orders, {**question, "id": 1}, TIMEOUT_MS), OrderAnswer)
    except (KalshiBusError, Refusal):
        return None
    finally:
        context.term()
    known: dict[str, Any] = msgspec.to_builtins(answer)
    return known


def _report(settings: Settings, since: str | None, until: str | None, *, as_json: bool) -> int:
    """Ask the trader, which knows what positions are worth; if none runs, read the journal."""
    context = make_context()
    try:
        question = {"op": "report", "id": 1, "since": since, "until": until}
        control = settings.trader_control
        answer = _once_read(lambda: ask(context, control, question, TIMEOUT_MS))
        report = told(answer, ReportAnswer)
    except NoAnswer:
        print("trader: no trader runs here: open positions are not valued", file=sys.stderr)
        report = _unmarked(settings, {"since": since, "until": until})
    except Refusal as refusal:
        print(f"trader: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    except DecodeError as error:
        print(f"trader: {error}", file=sys.stderr)
        return EXIT_CRASHED
    finally:
        context.term()
    print(json.dumps(msgspec.to_builtins(report), indent=2) if as_json else as_text(report))
    return 0


def _once_read(asking: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the answer once the trader has read its journal, of which it reads a part at each question."""
    answer = asking()
    for _ in range(READS_MAX):
        error = answer.get("error")
        if not isinstance(error, dict) or error.get("code") != "not_ready":
            break
        answer = asking()
    return answer


def _unmarked(settings: Settings, days: Mapping[str, str | None]) -> ReportAnswer:
    path = _journal_of(settings)
    try:
        since, until = days_in(days)
    except Refusal as refusal:
        raise StartupError(str(refusal)) from None
    with readable(path), closing(Reader(path)) as reader:
        return account_of(reader.tail().read()).report(None, since, until)


def _tax(settings: Settings, year: int, file: str | None) -> int:
    closed = closed_in(_journal_of(settings), year)
    text = as_csv(closed)
    if file is None:
        sys.stdout.write(text)
        return 0
    try:
        Path(file).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        print(f"trader: {file}: {error.strerror}", file=sys.stderr)
        return EXIT_CRASHED
    gain_e6 = sum(part.gain_e6 for part in closed)
    print(f"{file}: {len(closed)} lots closed in {year}, gain {format_money(gain_e6)}")
    return 0


def _ask(settings: Settings, parsed: argparse.Namespace) -> int:
    killing = parsed.command == "kill"
    reason = " ".join(getattr(parsed, "reason", ())) or BY_HAND
    if killing:
        # The file is what kills, whether or not a trader runs.
        outcome = KillSwitch(settings.data_dir).set(reason)
        if outcome.trouble is not None:
            print(f"trader: {outcome.trouble}", file=sys.stderr)
    commands: dict[str, AnyCommand] = {
        "pause": PauseCommand(reason=reason),
        "kill": KillCommand(reason=reason),
        "resume": ResumeCommand(word=getattr(parsed, "word", "")),
    }
    asked = commands.get(parsed.command)
    question = {"op": parsed.command} if asked is None else msgspec.to_builtins(asked)
    context = make_context()
    try:
        answer = ask(context, settings.trader_control, {**question, "id": 1}, TIMEOUT_MS)
        if asked is None:
            told(answer, TraderStatus)
            print(json.dumps(answer, indent=2))
        else:
            done = told(answer, CommandAnswer)
            print(done.state)
            if done.warning is not None and not killing:  # then the file has said so
                print(f"trader: {done.warning}", file=sys.stderr)
    except Refusal as refusal:
        print(f"trader: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    except NoAnswer as error:
        if killing:
            print(f"trader: {error}", file=sys.stderr)
            print("trader: no trader runs here; the kill switch is set for the next one")
            return 0 if KillSwitch(settings.data_dir).read() else EXIT_CRASHED
        if parsed.command == "resume":
            print(f"trader: {error}", file=sys.stderr)
            return _resume_alone(settings, parsed.word)
        print(f"trader: {error}: {_IS_UP}", file=sys.stderr)
        return EXIT_CRASHED
    except KalshiBusError as error:
        print(f"trader: {error}", file=sys.stderr)
        return EXIT_CRASHED
    finally:
        context.term()
    return 0


def _journal_of(settings: Settings) -> Path:
    return newest_journal(settings.data_dir, settings.mode, settings.env)


def _resume_alone(settings: Settings, word: str) -> int:
    """Clear the kill switch if no trader runs that could do so: the next one will trade again."""
    switch = KillSwitch(settings.data_dir)
    if switch.read() is None:
        print("trader: no trader runs here, and the kill switch is not set: nothing to resume")
        return EXIT_CRASHED
    if word != WORD:
        print(f"trader: word: trading was killed; resume with the word {WORD}", file=sys.stderr)
        return EXIT_REFUSED
    # Holding its locks proves that no trader runs; one that runs without answering has to be told itself.
    journal = _journal_of(settings)
    with hold_role(private_dir(settings.run_dir), "trader"), hold_role(settings.data_dir, journal.name):
        try:
            switch.clear()
        except OSError as error:
            print(f"trader: {switch.path}: {error.strerror}", file=sys.stderr)
            return EXIT_CRASHED
    print("trader: no trader runs here; the kill switch is cleared, and the next one will trade")
    return 0


def _reconcile(settings: Settings, *, as_json: bool) -> int:
    path = _journal_of(settings)
    comparison = None
    try:
        if settings.mode != "paper":
            context = make_context()
            try:
                comparison = reconcile.compare(
                    path,
                    reconcile.asking(context, settings.orders),
                    say=lambda text: print(f"trader: {text}", file=sys.stderr, flush=True),
                )
            finally:
                context.term()
        books = reconcile.books_of(path)
    except LedgerError as error:
        print(f"trader: {error}", file=sys.stderr)
        return EXIT_CRASHED
    if as_json:
        print(json.dumps(reconcile.as_json(path, books, comparison), indent=2))
    else:
        print(reconcile.as_text(books, comparison))
    return 0 if reconcile.whole(books, comparison) else EXIT_CRASHED


def _check(settings: Settings) -> int:
    """Load and try the strategies and sources as the trader does when it starts."""
    clock, held = SystemClock(), EndedStrategies(settings.data_dir)
    minder = Minder(clock)

    def end(running: Running) -> None:
        problem = f"{running.strategy}: {running.call} does not return"
        print(f"trader: {variable_of('strategies')}: {problem}", file=sys.stderr, flush=True)
        os._exit(EXIT_REFUSED)

    watch = Watch(minder, end)
    watch.thread.start()
    try:
        lineup = line_up(settings.strategies, Path.cwd(), held, minder, clock.now_ms())
    finally:
        watch.stop()
    with ExitStack() as stack:
        folder = Path.cwd()
        sources = start_sources(
            settings.fair_values,
            lambda text: hosted(text, settings, clock, folder),
            names_taken(settings),
            stack,
        )
        for source in sources:
            print(f"source {source.state.name}: {source.text}")
    if settings.fair_values_file is not None:
        for said in _told_values(ValuesFile(settings.fair_values_file), clock.now_ms()):
            print(f"source {SOURCE}: {said}")
    for text, maker in lineup.makers.items():
        print(f"strategy {maker.name}: {text}")
    for ended in lineup.left_out:
        remedy = f"{to_type('trader allow')} {ended.strategy}"
        print(f"strategy {ended.strategy}: not loaded: {ended.reason}: {remedy}")
    return 0


def _told_values(file: ValuesFile, now_ms: int) -> Iterator[str]:
    """Yield what a file of fair values has now, and what is wrong with it; the trader starts in any case."""
    file.look(now_ms)
    loaded = file.loaded
    if file.loaded_ms is not None:
        yield f"{file.path}: {len(loaded.values)} fair values, {len(loaded.errors)} rows refused"
    yield from loaded.errors[:ROWS_MAX]


def _allow(settings: Settings, name: str) -> int:
    held = EndedStrategies(settings.data_dir)
    try:
        allowed = held.allow(name)
    except OSError as error:
        print(f"trader: {held.path}: {error.strerror}", file=sys.stderr)
        return EXIT_CRASHED
    if not allowed:
        names = ", ".join(ended.strategy for ended in held.read()) or "there is none"
        print(f"trader: {name}: not an ended strategy; ended are: {names}", file=sys.stderr)
        return EXIT_REFUSED
    for ended in allowed:
        print(f"{ended.label} will be loaded when the trader next starts")
    return 0


def _odd_row(decided: Counter[BookedRow], held: Counter[BookedRow]) -> str | None:
    """Return a decision that the session's rows lack, or a row that was never decided; None if neither."""
    for what, rows in (
        ("HAS NO ROW of", decided - held),
        ("has a row THAT WAS NEVER DECIDED of", held - decided),
    ):
        for step, number, members in sorted(rows, key=str)[:1]:
            booked = f"a fill of order {number}" if number else f"the settlement of {members[0]}"
            return f"{what} {booked} at input {step}: {members}"
    return None


def _verify(settings: Settings) -> int:
    path = _journal_of(settings)
    same = True
    with readable(path), closing(Reader(path)) as reader:
        for session, build in reader.sessions().items():
            loaded: list[Extension[Strategy]] = []

            def load(text: str, into: list[Extension[Strategy]] = loaded) -> Extension[Strategy]:
                into.append(load_strategy(text))
                return into[-1]

            try:
                result = replay(reader.inputs(session), load)
            except StartupError as error:
                print(f"session {session}: CANNOT BE DECIDED AGAIN ({error})")
                same = False
                continue
            except (DecodeError, LedgerError) as error:
                identical, verdict = False, f"CANNOT BE DECIDED AGAIN ({error})"
            else:
                identical = result.differs_at is None
                verdict = f"{result.steps} inputs, {result.orders} orders, "
                verdict += "identical" if identical else f"DIFFERS at input {result.differs_at}"
                if identical and (odd := _odd_row(result.booked, reader.booked(session))) is not None:
                    same, verdict = False, f"{verdict}, but {odd}"
            ours = build_of(build_id(), loaded)
            if build != ours:
                verdict += f", decided by another build ({build}, this is {ours})"
            print(f"session {session}: {verdict}")
            # Another build explains a difference, but is no excuse: whoever changes decisions must notice.
            same &= identical
    if not same:
        print("trader: this build does not decide everything as it was decided then", file=sys.stderr)
    return 0 if same else EXIT_CRASHED
