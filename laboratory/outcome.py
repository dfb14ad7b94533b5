"""The outcome of one run: all that a report needs, small enough to keep. Money in 1/1,000,000 dollar."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from markets.texts import one_line

VERSION: Final = 7
"""The version of these shapes; a run whose kept outcome has another version is repeated."""


FILES: Final = "files"
"""The part of a plan that says of what version a person's own files were."""

DAYS: Final = "days"
"""The part that says whether they are simulated or recorded."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Everything that decides the result of a run.

    Attributes:
        recording: path of a recording, "" for a simulated exchange.
        seed: that of the simulated exchange.
        hours: how much time; 0 for the whole of a recording.
        settings: the trader's settings that were chosen, by key.
        exchange: switches of the simulated exchange's activity.
        code: id of the code that ran; "" for any.
        digest: that of the recording's bytes.
        defaults: settings asked for with the value that they have anyway. They decide nothing, but a variant
            is called by them.
        files: a person's own files that the run reads, by path, each with its digest (laboratory/inputs.py).
    """

    recording: str = ""
    seed: int = 1
    hours: float = 0.0
    markets: int = 1_500
    rivals: bool = True
    latency_ms: int = 500
    settings: dict[str, str] = {}
    exchange: dict[str, float] = {}
    code: str = ""
    digest: str = ""
    files: dict[str, str] = {}
    defaults: dict[str, str] = {}

    @property
    def name(self) -> str:
        """A name made from everything that decides the run; not from where a known recording is."""
        parts = msgspec.to_builtins(self)
        del parts["defaults"]
        if self.digest:
            del parts["recording"]
        body = msgspec.json.encode({"version": VERSION, **parts}, order="deterministic")
        return hashlib.sha256(body).hexdigest()[:16]

    @property
    def case(self) -> str:
        """What tells the runs of a variant apart: the seed, or the recording, by the start of its digest."""
        if self.recording:
            return f"recording {self.digest[:12] or self.recording}"
        return f"seed {self.seed}"

    @property
    def runs_own_code(self) -> bool:
        """Whether code of a person's own is among its files, not only fair values."""
        return any(path != self.settings.get("fair_values_file") for path in self.files)

    @property
    def world(self) -> dict[str, str]:
        """What is given, not chosen, apart from the case: exchange, latency, time, and code."""
        parts = {DAYS: "recorded" if self.recording else "simulated"}
        parts |= {name: f"{number:g}" for name, number in sorted(self.exchange.items())}
        if not self.recording:
            parts |= {"rivals": "yes" if self.rivals else "no", "markets": str(self.markets)}
        if self.hours:
            parts["hours"] = f"{self.hours:g}"
        return {**parts, "latency": f"{self.latency_ms} ms", "code": self.code}

    @property
    def parts(self) -> dict[str, str]:
        """Everything but the case; runs with equal parts make up one sample."""
        files = {FILES: ", ".join(f"{Path(path).name} {digest[:8]}" for path, digest in self.files.items())}
        return {**dict(sorted(self.settings.items())), **(files if self.files else {}), **self.world}

    @property
    def variant(self) -> str:
        """The parts as one text."""
        return ", ".join(f"{name}={text}" for name, text in self.parts.items())


def name_of_all(plans: Iterable[Plan]) -> str:
    """Return a name made from those of all runs, in whatever order."""
    found = sorted(plan.name for plan in plans)
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()[:16]


def names(plans: Iterable[Plan]) -> dict[str, str]:
    """Return a name for each variant, made only of what differs among them."""
    plans = list(plans)
    each = {plan.variant: plan.parts for plan in plans}
    asked: dict[str, dict[str, str]] = {}
    for plan in plans:
        asked.setdefault(plan.variant, {}).update(plan.defaults)
    chosen = {FILES}.union(*(plan.settings for plan in plans))
    known = dict.fromkeys(key for parts in each.values() for key in parts)
    every = sorted(known, key=lambda key: key not in chosen)  # these first
    differ = [key for key in every if len({parts.get(key) for parts in each.values()}) > 1]
    plain = [key for key in differ if key != FILES]
    if len({tuple(parts.get(key) for key in plain) for parts in each.values()}) == len(each):
        differ = plain  # other settings name other files
    return {
        variant: ", ".join(
            _said(key, parts.get(key, asked[variant].get(key)))
            for key in differ
            # Where nothing is simulated, there are no rivals, markets or traits to choose from.
            if key in parts or key in chosen or parts[DAYS] == "simulated"
        )
        or "all runs"
        for variant, parts in each.items()
    }


def common(plans: Iterable[Plan]) -> list[str]:
    """Return the parts that all plans have in common, as they are said."""
    each = [plan.parts for plan in plans]
    first = each[0] if each else {}
    return [_said(key, text) for key, text in first.items() if all(one.get(key) == text for one in each)]


def _said(key: str, text: str | None) -> str:
    if key == "rivals":
        return "rivals" if text == "yes" else "no rivals"
    if text is None:
        return f"{key} default"
    if key == "hours":
        return span(float(text) / 24, 4)
    return text if key == DAYS else f"{key} {text}"


def span(days: float, units: int = 2) -> str:
    """Return a length of time in its largest units, such as 1 d 3 h, or 2 min 10 s."""
    seconds, parts = round(days * 86_400), list[str]()
    for unit, each in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, each)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:units]) or f"{days * 86_400:g} s"


class Point(msgspec.Struct, frozen=True, array_like=True):
    """The account at one time. Profits are since the start; `stake_e6` is in open positions and orders."""

    at_ms: int
    floor_e6: int
    bid_e6: int
    stake_e6: int
    cash_e6: int


class Trade(msgspec.Struct, kw_only=True):
    """One decision and everything that came of it.

    Attributes:
        kind, source: as in `kalshi-bus trader report` (docs/trader.md).
        promised_e6: expected profit at the decision, for what was filled (trader/promised.py).
        legs: (ticker, side, contracts wanted in 1/100) of its first orders.
        first: what those got: "even" (the same share of each), "missed" (a leg or a part of one was missed),
            "nothing".
        joined, evened: how many orders joined it later; how many evened it out, or sold it.
        fees_e6: fees of its fills, and what was withheld at settlement; cost_e6: cost without fees.
        got_e6: profit, once everything it holds is settled; None before.
        worth_e6: if not settled, its worth at the end at floor or bid, less its cost.
        odd: it was settled without whole winners: a void, a dead heat.
        belief: what a contract of its side was believed to be worth, times 1,000,000; None if it relied on no
            fair value.
        outcome_e4: for one with a belief that held contracts of its only leg to the end: what each paid.
    """

    number: int
    strategy: str
    kind: str
    source: str
    series: str
    event: str
    at_ms: int
    legs: list[tuple[str, str, int]]
    promised_e6: int = 0
    first: str = ""
    orders: int = 0
    joined: int = 0
    evened: int = 0
    cost_e6: int = 0
    fees_e6: int = 0
    got_e6: int | None = None
    worth_e6: int | None = None
    odd: bool = False
    belief: int | None = None
    outcome_e4: int | None = None


class Markout(msgspec.Struct, frozen=True, array_like=True):
    """How much more a contract was worth some minutes after its fill than was paid, in 1/10,000 dollar.

    That is at the midpoint, or its value once decided (`worth_of`); None if nobody could say.
    """

    strategy: str
    minutes: int
    count_e2: int
    more_e4: float | None


class Outcome(msgspec.Struct, kw_only=True):
    """Everything that a run recorded.

    Attributes:
        began_ms, ended_ms: in the run's own time.
        drawdown_e6: the deepest fall of equity at floor below an earlier high.
        most_e6: the most at stake. Both are of every half second, whatever the length of the run.
        refused: how often trades were refused, by reason.
        order_ms: times of orders from decision to end, sorted, thinned to about 200.
        gap_ms: how much of the time between was not recorded.
        spans: what times a recording holds (laboratory/spans.py).
        check: what the recording's own check says (docs/recording.md); "" of a simulated exchange.
        lacks: what a recording lacks, each in a sentence.
        failures: what went wrong in the trader: dropped strategies, failed scans, a halt.
        differs: where ledger and exchange differ at the end; must be empty.
        error: why the run itself failed, on one line; "" if it did not.
        cpu_s: processor time.
    """

    plan: Plan
    began_ms: int = 0
    ended_ms: int = 0
    gap_ms: int = 0
    spans: list[tuple[int, int, int]] = []
    check: str = ""
    lacks: list[str] = []
    start_e6: int = 0
    points: list[Point] = []
    drawdown_e6: int = 0
    most_e6: int = 0
    trades: list[Trade] = []
    markouts: list[Markout] = []
    refused: dict[str, int] = {}
    orders: int = 0
    fills: int = 0
    wanted_e2: int = 0
    got_e2: int = 0
    fees_e6: int = 0
    order_ms: list[int] = []
    failures: list[str] = []
    differs: list[str] = []
    error: str = ""
    cpu_s: float = 0.0

    def __post_init__(self) -> None:
        self.error = one_line(self.error)

    @property
    def days(self) -> float:
        """The length of the run in its own time, without what was not recorded."""
        return (self.ended_ms - self.began_ms - self.gap_ms) / 86_400_000

    @property
    def profit_e6(self) -> int:
        """Profit at the end, with open positions at their floor or bid."""
        return self.points[-1].floor_e6 if self.points else 0

    @property
    def a_day_e6(self) -> float:
        """Profit per day."""
        return self.profit_e6 / self.days if self.days else 0.0
