"""What a probe is going to do, its progress, and its results, as text and as JSON. Pure."""

import textwrap
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from markets.errors import StartupError
from markets.units import format_price, format_time

from .desk import Desk
from .questions import Question, Value
from .talk import Halted, Hush, Talk, Unanswered
from .venue import Venue

WIDTH: Final = 110
INDENT: Final = " " * 18


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a question. `as_assumed` None: it was not answered, `did` says why."""

    question: str
    about: str
    assumed: str
    did: str
    as_assumed: bool | None
    follows: str
    switch: dict[str, Value] = {}


class Exchanged(msgspec.Struct, frozen=True, kw_only=True):
    """A request and its raw answer. `status` None: there was none, `answer` says why."""

    at: str
    request: str
    sent: str
    status: int | None
    answer: str


class Report(msgspec.Struct, kw_only=True):
    """The findings of a probe.

    Attributes:
        most: the most dollars that all its orders together could cost.
        left: what is not proved to be over at the end, None if everything is.
        kept: contracts by market that were bought and could not be sold again.
        switches: what makes the simulated exchange behave like this one: POST /sim/switches.
    """

    exchange: str
    env: str
    account: str
    began: str
    ended: str = ""
    market: str = ""
    most: str = ""
    findings: list[Finding] = []
    left: str | None = "the probe did not come to its end"
    kept: dict[str, str] = {}
    switches: dict[str, Value] = {}
    exchanged: list[Exchanged] = []


class Plan(msgspec.Struct, frozen=True):
    """What is asked, what is not and why, and the most it may cost."""

    asked: tuple[Question, ...]
    left_out: tuple[tuple[Question, str], ...]
    most_e6: int


def plan(every: Collection[Question], only: Collection[str], venue: Venue, most_e6: int | None) -> Plan:
    """Choose what to ask: `only` those named, or all, as long as it costs no more than `most_e6` in total.

    Raises:
        StartupError: a name is not that of a question.
    """
    if unknown := sorted(set(only) - {question.name for question in every}):
        names = ", ".join(question.name for question in every)
        raise StartupError(f"--only: got {unknown[0]!r}, expected some of: {names}")
    asked: list[Question] = []
    left_out: list[tuple[Question, str]] = []
    sum_e6 = 0
    for question in every:
        if only and question.name not in only:
            continue
        cost_e6 = question.cost(venue)
        if most_e6 is not None and sum_e6 + cost_e6 > most_e6:
            left_out.append((question, f"${dollars(cost_e6)} might be at stake: see --most"))
            continue
        asked.append(question)
        sum_e6 += cost_e6
    return Plan(tuple(asked), tuple(left_out), sum_e6)


def conduct(chosen: Plan, venue: Venue, desk: Desk, found: Callable[[Finding], None]) -> Talk[str | None]:
    """Ask one question after another and leave nothing behind; return what is not proved to be over.

    Args:
        found: called with each finding as it comes.
    """
    for question, why in chosen.left_out:
        found(_finding(question, f"not asked: {why}"))
    halted = ""
    for question in chosen.asked:
        if halted:
            found(_finding(question, f"not asked: {halted}"))
            continue
        try:
            answer = yield from question.ask(desk, venue)
        except Unanswered as error:
            finding = _finding(question, f"not answered: {error}")
        except Halted as error:
            halted = str(error)
            finding = _finding(question, f"not answered: {halted}")
        else:
            finding = _finding(question, answer.did, answer.as_assumed, answer.follows, answer.switch)
        found(finding)
        try:
            yield Hush()
            yield from desk.clear()
        except Halted as error:
            halted = str(error)
    while True:
        try:
            if not halted:
                yield from desk.sell()
            return (yield from desk.prove())
        except Halted as error:
            halted = str(error)


def _finding(
    question: Question,
    did: str,
    as_assumed: bool | None = None,
    follows: str = "",
    switch: Mapping[str, Value] = MappingProxyType({}),
) -> Finding:
    return Finding(
        question=question.name,
        about=question.about,
        assumed=question.assumed,
        did=did,
        as_assumed=as_assumed,
        follows=follows,
        switch=dict(switch),
    )


def announced(chosen: Plan, venue: Venue, exchange: str, account: str) -> str:
    """Say what will be done, and what it may cost."""
    spot = venue.main
    lines = [
        (
            f"{len(chosen.asked)} questions to {exchange}, account {account}, with orders of one contract or "
            f"less, most of them in {spot.ticker} (bid {format_price(spot.bid_e4)}, ask "
            f"{format_price(spot.ask_e4)}) and far below its price. What rests ends by itself within 30 s; "
            "what is bought is sold again."
        ),
        (
            f"All of it together costs at most ${dollars(chosen.most_e6)}: should every order be filled "
            "and all that is bought be worth nothing."
        ),
    ]
    lines += [f"Left out: {question.name} ({why})" for question, why in chosen.left_out]
    return "\n".join(textwrap.fill(line, WIDTH) for line in lines)


def line(found: Finding) -> str:
    """Return a finding as lines of text."""
    word = {True: "as assumed", False: "OTHERWISE", None: "unknown"}[found.as_assumed]
    rows = [f"{found.about}: {found.did}"]
    if found.as_assumed is False:
        rows.append(f"assumed: {found.assumed}")
    if found.follows and (found.as_assumed is False or not found.follows.startswith("nothing")):
        rows.append(f"follows: {found.follows}")
    shown = [
        textwrap.fill(row, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT + "  ") for row in rows
    ]
    return f"{found.question:<17} {word}\n" + "\n".join(shown)


def as_text(report: Report) -> str:
    """Return the whole report as text."""
    counts = {
        value: sum(found.as_assumed is value for found in report.findings) for value in (True, False, None)
    }
    head = (
        f"Probe of {report.exchange} (env {report.env}), account {report.account}\n"
        f"{report.began} to {report.ended}, market {report.market}, at most ${report.most} at stake\n"
        f"{counts[True]} as assumed, {counts[False]} otherwise, {counts[None]} unknown"
    )
    switches = msgspec.json.encode(report.switches).decode()
    parts = [
        head,
        *(line(found) for found in report.findings),
        f"At the end: {ending(report)}",
        f"The simulated exchange does the same with: POST /sim/switches {switches}",
    ]
    return "\n\n".join(parts) + "\n"


def ending(report: Report) -> str:
    """Say what is left."""
    left = report.left or "nothing of the probe rests: proved by a list that is later than its last request"
    kept = [f"{count} {ticker}" for ticker, count in sorted(report.kept.items())]
    return f"{left}; bought and not sold again: {', '.join(kept)}" if kept else left


def dollars(money_e6: int) -> str:
    """Return an amount in dollars and cents, rounded up."""
    cents = -(-money_e6 // 10_000)
    return f"{cents // 100}.{cents % 100:02}"


def stamp(time_ms: int) -> str:
    """Return a time in a form fit for a file's name."""
    return format_time(time_ms).partition(".")[0].rstrip("Z").replace("-", "").replace(":", "") + "Z"
