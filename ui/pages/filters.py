"""The query of an opportunities list: one parser for page, API and CSV, and the selection it makes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from markets.errors import BadRecord
from markets.opportunities import KINDS, Opportunity
from markets.units import MONEY_ONE_E6, parse_count_e2, parse_decimal

HOUR_MS: Final = 3_600_000
LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
TEXT_MAX: Final = 100

_Key = Callable[[Opportunity], Any]

SORTS: Final[dict[str, _Key]] = {
    "kind": lambda o: o.kind,
    "title": lambda o: o.title.casefold(),
    "net": lambda o: None if o.net_edge_e6 is None or not o.count_e2 else o.net_edge_e6 / o.count_e2,
    "gross": lambda o: o.gross_edge_e6 / o.count_e2 if o.count_e2 else None,
    "value": lambda o: o.value,
    "fair": lambda o: o.probability,
    "ev": lambda o: o.ev_e6,
    "size": lambda o: o.count_e2,
    "capital": lambda o: o.capital_e6,
    "fees": lambda o: o.fees_e6,
    "locked": lambda o: o.locked_e6,
    "void": lambda o: o.if_void_e6,
    "worst": lambda o: o.worst_case_e6,
    "annual": lambda o: o.annualised_return,
    # Per day, for the whole size; the page cuts it to the limits (board.py).
    "day": lambda o: None if o.annualised_return is None else o.annualised_return * (o.capital_e6 or 0),
    "start": lambda o: o.start_ms,
    "close": lambda o: o.close_ms,
    "volume": lambda o: o.volume_e2,
    "age": lambda o: -o.as_of_ms,
}
"""Orders of the list by name: ascending, or descending with a leading minus. `net` is per contract."""

PARAMETERS: Final = (
    "limit", "min_value", "min_ev", "max_hours", "min_volume", "kind", "q", "sort", "why_not",
)  # fmt: skip


class Filters(msgspec.Struct, frozen=True):
    """What to select. None and "" select all; a candidate with an unknown number fails any bound on it.

    Attributes:
        limit: how many at most.
        min_value: least `value` (probability minus price), 0..1. Baskets have none.
        min_ev_e6: least expected profit.
        max_ms: longest time until the match starts, or until the close if it has started.
        min_volume_e2: least contracts ever traded in the least traded leg.
        kind: one kind only.
        q: words that must all occur in title, tickers or outcomes.
        sort: key of SORTS, with a leading "-" for descending; "" for best first.
        why_not: include candidates that are not tradable, with their reasons.
    """

    limit: int | None = LIMIT_DEFAULT
    min_value: float | None = None
    min_ev_e6: int | None = None
    max_ms: int | None = None
    min_volume_e2: int | None = None
    kind: str = ""
    q: str = ""
    sort: str = ""
    why_not: bool = False

    @property
    def narrowed(self) -> bool:
        """Whether anything but order, limit and why-not is asked for."""
        return self != Filters(limit=self.limit, sort=self.sort, why_not=self.why_not)

    def select(self, opportunities: Sequence[Opportunity], now_ms: int) -> list[Opportunity]:
        """Return those that pass, sorted and cut at `limit`. `opportunities` come best first."""
        found = [opportunity for opportunity in opportunities if self._passes(opportunity, now_ms)]
        name = self.sort.removeprefix("-")
        if name:
            key = SORTS[name]
            known = [opportunity for opportunity in found if key(opportunity) is not None]
            known.sort(key=key, reverse=self.sort.startswith("-"))
            found = known + [opportunity for opportunity in found if key(opportunity) is None]
        return found[: self.limit]

    def _passes(self, opportunity: Opportunity, now_ms: int) -> bool:
        return (
            (self.why_not or opportunity.tradable)
            and (not self.kind or opportunity.kind == self.kind)
            and _reaches(opportunity.value, self.min_value)
            and _reaches(opportunity.ev_e6, self.min_ev_e6)
            and _reaches(opportunity.volume_e2, self.min_volume_e2)
            and (self.max_ms is None or _soon(opportunity, now_ms, self.max_ms))
            and (not self.q or _mentions(opportunity, self.q.casefold().split()))
        )


def parse(pairs: Iterable[tuple[str, str]], limit_default: int | None = LIMIT_DEFAULT) -> Filters:
    """Return the filters in a query string; an empty value counts as not given.

    Raises:
        BadRecord: naming the first parameter that is unknown, repeated or wrong.
    """
    given: dict[str, str] = {}
    for name, text in pairs:
        if name not in _PARSERS:
            raise BadRecord(name, text, f"one of the parameters {', '.join(PARAMETERS)}")
        if name in given:
            raise BadRecord(name, text, "the parameter only once")
        given[name] = text
    fields: dict[str, Any] = {"limit": limit_default}
    for name, text in given.items():
        if text:
            field, parser = _PARSERS[name]
            fields[field] = parser(text)
    return Filters(**fields)


def _limit(text: str) -> int:
    return _bounded("limit", text, 0, 1, LIMIT_MAX, f"a whole number from 1 to {LIMIT_MAX}")


def _min_value(text: str) -> float:
    return _bounded("min_value", text, 6, 0, 1_000_000, "a probability from 0 to 1") / 1_000_000


def _min_ev(text: str) -> int:
    return _bounded("min_ev", text, 6, 0, 10**9 * MONEY_ONE_E6, "dollars, 0 or more")


def _max_hours(text: str) -> int:
    hours_e6 = _bounded("max_hours", text, 6, 0, 10**12, "hours from 0 to 1000000")
    return hours_e6 * HOUR_MS // 1_000_000


def _min_volume(text: str) -> int:
    return parse_count_e2(text, "min_volume")


def _kind(text: str) -> str:
    if text not in KINDS:
        raise BadRecord("kind", text, " or ".join(KINDS))
    return text


def _q(text: str) -> str:
    if len(text) > TEXT_MAX:
        raise BadRecord("q", text, f"at most {TEXT_MAX} characters")
    return text.strip()


def _sort(text: str) -> str:
    if text.removeprefix("-") not in SORTS:
        raise BadRecord("sort", text, f"one of {', '.join(SORTS)}, with a leading minus for descending")
    return text


def _why_not(text: str) -> bool:
    if text not in ("0", "1"):
        raise BadRecord("why_not", text, "0 or 1")
    return text == "1"


_PARSERS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "limit": ("limit", _limit),
    "min_value": ("min_value", _min_value),
    "min_ev": ("min_ev_e6", _min_ev),
    "max_hours": ("max_ms", _max_hours),
    "min_volume": ("min_volume_e2", _min_volume),
    "kind": ("kind", _kind),
    "q": ("q", _q),
    "sort": ("sort", _sort),
    "why_not": ("why_not", _why_not),
}


def _bounded(name: str, text: str, places: int, low: int, high: int, expected: str) -> int:
    try:
        value = parse_decimal(text, places, name)
    except BadRecord:
        raise BadRecord(name, text, expected) from None
    if not low <= value <= high:
        raise BadRecord(name, text, expected)
    return value


def _reaches(value: float | None, bound: float | None) -> bool:
    return bound is None or (value is not None and value >= bound)


def _soon(opportunity: Opportunity, now_ms: int, max_ms: int) -> bool:
    until_ms = (
        opportunity.start_ms
        if opportunity.start_ms is not None and opportunity.start_ms > now_ms
        else opportunity.close_ms
    )
    return until_ms is not None and until_ms - now_ms <= max_ms


def _mentions(opportunity: Opportunity, words: Sequence[str]) -> bool:
    legs = (text for leg in opportunity.legs for text in (leg.ticker, leg.label))
    text = " ".join(
        (opportunity.title, opportunity.event_ticker, opportunity.series_ticker, opportunity.kind, *legs)
    ).casefold()
    return all(word in text for word in words)
