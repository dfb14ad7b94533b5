"""What the page of a series shows."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bus.protocol.state import Records
from markets.fees import MAKER_RATE_E4, TAKER_RATE_E4
from markets.json.decoding import Reader
from markets.records import Series
from ui.pages.categories import category_of
from ui.pages.explore import (
    Columns,
    EventRow,
    Facet,
    ListPage,
    ListQuery,
    MarketTree,
    event_rows,
    page_of,
)

EVENTS_SHOWN: Final = 100
MARKETS_SHOWN: Final = 20
SOURCES_SHOWN: Final = 10


class _SourceWire(msgspec.Struct):
    name: str | None = None
    url: str | None = None


class _SeriesWire(msgspec.Struct):
    settlement_sources: list[_SourceWire] | None = None
    contract_terms_url: str | None = None
    contract_url: str | None = None


_wire: Final = Reader(_SeriesWire, "series")


class SeriesSource(msgspec.Struct, frozen=True):
    """Where results or rules are published. `url` is "" if it is not a web address."""

    name: str
    url: str


class SeriesPage(msgspec.Struct, frozen=True):
    """A series. `series` is None while only events and markets name it.

    `fee`: the cost of a trade, in words. `sources`: what results are decided by, and the contract's terms.
    """

    ticker: str
    series: Series | None
    category: str
    counts: Facet
    fee: str
    sources: tuple[SeriesSource, ...]
    events: tuple[EventRow, ...]
    busiest: ListPage


def series_page(
    state: Records,
    columns: Columns,
    tree: MarketTree,
    markets_of: Mapping[str, Sequence[str]],
    ticker: str,
    now_ms: int,
) -> SeriesPage | None:
    """Return the page of a series, or None if nothing names it."""
    series, counts = state.series.get(ticker), tree.whole.get(ticker)
    if series is None and counts is None:
        return None
    rows = event_rows(state, columns, markets_of, tree.events.get(ticker, ()))
    first = rows[0].event if rows else None
    return SeriesPage(
        ticker=ticker,
        series=series,
        category=category_of(first, series),
        counts=counts or Facet(ticker, 0, 0),
        fee=fee_words(series),
        sources=() if series is None else _sources(series),
        events=tuple(rows),
        busiest=page_of(state, columns, ListQuery(series=ticker, limit=MARKETS_SHOWN), now_ms, None, None),
    )


def fee_words(series: Series | None) -> str:
    """Return the fees of a series in words; an event may override them."""
    if series is None:
        return "unknown, because the series is not in the data"
    maker_e4 = MAKER_RATE_E4.get(series.fee_type)
    if maker_e4 is None or series.fee_multiplier_e4 is None:
        return "unknown, because the rule of this fee is not published"
    times = series.fee_multiplier_e4
    if times == 0:
        return "none"
    taker, maker = (
        f"{rate_e4 * times / 1e8:.4f}".rstrip("0").rstrip(".") for rate_e4 in (TAKER_RATE_E4, maker_e4)
    )
    return f"taker {taker}, maker {maker} × price × (1 − price) per contract"  # noqa: RUF001 - as written


def _sources(series: Series) -> tuple[SeriesSource, ...]:
    sent = _wire.read(series.raw)
    found = [SeriesSource(one.name or "", _address(one.url)) for one in sent.settlement_sources or ()]
    for name, url in (
        ("Contract terms", sent.contract_terms_url),
        ("Product certification", sent.contract_url),
    ):
        if address := _address(url):
            found.append(SeriesSource(name, address))
    named = [one if one.name else SeriesSource(one.url, one.url) for one in found]
    return tuple([one for one in named if one.name][:SOURCES_SHOWN])


def _address(url: str | None) -> str:
    """Return a web address; "" for anything else."""
    try:
        parts = urlsplit((url or "").strip())
    except ValueError:
        return ""
    return parts.geturl() if parts.scheme in ("http", "https") and parts.netloc else ""
