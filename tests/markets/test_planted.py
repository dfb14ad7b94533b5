"""What the simulated exchange plants is found, and what is found pays what it says: recall and precision."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from bus.clock import ManualClock
from bus.scan.rescan import Rescan, batch_of
from laboratory.feed import ExchangeFeed
from markets.opportunities import EventView, Opportunity, ScanLimits
from markets.records import FairValue
from simulator.floor.exchange import Exchange
from simulator.floor.halts import Activity
from simulator.floor.mispricing import Mispricing
from simulator.universe import templates
from tests.simulator.venue import START_MS

STEP_MS = 500
SECONDS = 420
FOUND_WITHIN_MS = 1_000
TICK_E4 = 100
NO_VALUES: dict[str, FairValue] = {}


@dataclass
class Seen:
    """What was planted while somebody looked, and when an opportunity of its kind and legs was there."""

    planted: list[Mispricing] = field(default_factory=list)
    found_ms: dict[int, int] = field(default_factory=dict)
    offers: dict[str, tuple[EventView, Opportunity]] = field(default_factory=dict)


def sides(planted: Mispricing) -> set[tuple[str, str]]:
    return {
        (ticker, "yes" if side == "bid" else "no")
        for ticker, side in zip(planted.tickers, planted.sides, strict=True)
    }


def tradable(
    feed: ExchangeFeed, rescan: Rescan, now_ms: int
) -> Iterator[tuple[EventView, list[Opportunity]]]:
    """Look at what the exchange's last step has changed, as a trader would."""
    while actions := feed.step(0):
        batch = batch_of(actions)
        events = rescan.events(feed.state, batch, NO_VALUES)
        for view in rescan.views(feed.state, events, now_ms):
            yield (
                view,
                [
                    one
                    for one in rescan.candidates(view, NO_VALUES, now_ms)
                    if one.tradable or (one.kind == "implication" and one.riskless)
                ],
            )


@pytest.fixture(scope="module")
def seen() -> Seen:
    exchange = Exchange(
        templates.load(), 400, 3, START_MS, Activity(rivals=False, bursts=False, informed_share=0.0)
    )
    clock = ManualClock(START_MS)
    feed, rescan, seen = ExchangeFeed(exchange, clock), Rescan(ScanLimits(), related=True), Seen()
    exchange.planter.followers.append(lambda planted, _ms: seen.planted.append(planted))
    for _ in range(SECONDS * 1_000 // STEP_MS):
        clock.advance(STEP_MS)
        now_ms = clock.now_ms()
        feed.advance(now_ms)
        offers: dict[frozenset[tuple[str, str]], Opportunity] = {}
        for view, found in tradable(feed, rescan, now_ms):
            for one in found:
                offers[frozenset((leg.ticker, leg.side) for leg in one.legs)] = one
                seen.offers.setdefault(one.key, (view, one))
        for number, planted in enumerate(seen.planted):
            if number not in seen.found_ms and any(
                one.kind == planted.kind and legs & sides(planted) for legs, one in offers.items()
            ):
                seen.found_ms[number] = now_ms
    return seen


def test_every_planted_mispricing_that_is_locked_is_found_within_a_second(seen: Seen) -> None:
    missed = [
        (planted.kind, planted.event_ticker, planted.tickers, planted.edge_e4)
        for number, planted in enumerate(seen.planted)
        if planted.kind in {"no_basket", "yes_basket", "ladder", "implication"}
        and planted.edge_e4 >= TICK_E4
        and planted.from_ms <= START_MS + SECONDS * 1_000 - 2_000
        and seen.found_ms.get(number, 1 << 62) > planted.from_ms + FOUND_WITHIN_MS
    ]

    kinds = [planted.kind for planted in seen.planted]
    assert {"no_basket", "yes_basket", "ladder", "implication", "value"} <= set(kinds)
    assert missed == []


def test_whatever_is_offered_is_locked_and_of_planted_markets(seen: Seen) -> None:
    planted = {ticker for one in seen.planted for ticker in one.tickers}

    assert seen.offers
    for _, one in seen.offers.values():
        assert one.kind != "value"
        assert one.riskless
        assert planted & {leg.ticker for leg in one.legs}
