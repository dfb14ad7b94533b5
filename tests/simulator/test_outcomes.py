"""What comes true comes as often as the exchange said: by kind of event, and with the stated misfortunes."""

from collections.abc import Callable
from math import sqrt
from random import Random

import pytest

from simulator.floor.latent import SPORTS, Asset, Match, Options, Underlying, Window
from simulator.floor.model import Event, Latent
from simulator.universe.templates import Role

from .venue import Client

Make = Callable[..., Client]


def match(rng: Random) -> tuple[Latent, list[Role]]:
    found = Match(SPORTS["soccer" if rng.random() < 0.5 else "baseball"], rng)
    found.started = rng.random() < 0.7  # else it is decided before it has begun
    found.advance(rng.random() * 5_000, rng)
    ties = [Role("tie")] if found.sport.ties else []
    return found, [
        Role("win", "A"),
        Role("win", "B"),
        *ties,
        Role("total", floor=5.5),
        Role("margin", "A", 1.5),
    ]


def options(rng: Random) -> tuple[Latent, list[Role]]:
    weights = [rng.expovariate(1) for _ in range(6)]
    return Options(weights, rest=rng.random(), volatility=0.05), [Role("option", str(i)) for i in range(6)]


def temperatures(rng: Random) -> tuple[Latent, list[Role]]:
    found = Underlying(70 + rng.gauss(0, 3), 3.0, 36_000)
    found.advance(rng.random() * 30_000, rng)
    return found, [Role("below", floor=68), Role("between", floor=68, cap=70), Role("above", floor=72)]


def windows(rng: Random) -> tuple[Latent, list[Role]]:
    found = Window(Asset(100.0, 1e-4, 0), 0, 900_000)
    found.strike = 100.0
    found.advance(rng.random() * 800, rng)
    return found, [Role("up")]


@pytest.mark.parametrize("kind", [match, options, temperatures, windows])
def test_outcomes_of_a_kind_come_as_often_as_it_was_said(
    kind: Callable[[Random], tuple[Latent, list[Role]]],
) -> None:
    """In each fifth of the probabilities: as many come true as were expected, within chance."""
    rng = Random(11)
    said = [0.0] * 5
    variance = [0.0] * 5
    came = [0] * 5
    for _ in range(4_000):
        latent, roles = kind(rng)
        chances = [latent.probability(role) for role in roles]
        if isinstance(latent, Window):
            latent.advance(900, rng)
        latent.decide(rng)
        for role, p in zip(roles, chances, strict=True):
            fifth = min(int(5 * p), 4)
            said[fifth] += p
            variance[fifth] += p * (1 - p)
            came[fifth] += latent.outcome(role)
    assert sum(said) > 500
    for expected, spread, seen in zip(said, variance, came, strict=True):
        # A match's probabilities are a normal approximation of goals: some hundredths are forgiven there.
        room = 0.03 * expected + 25 if kind is match else 0.0
        assert abs(seen - expected) < 4 * sqrt(spread) + room + 1, (kind.__name__, expected, seen)


def brought(client: Client, kind: str, stage: str = "determined") -> list[Event]:
    """Let all events of a kind of group come to their end, and return them."""
    exchange = client.api.exchange
    groups = [group for group in exchange.listings.groups if group.kind == kind]
    events = [event for group in groups for event in group.events if event.status == "active"]
    for event in events:
        exchange.bring(event, "determined")
    return events


def test_an_exclusive_event_has_one_winner_at_most_and_a_dead_heat_two_halves(make_client: Make) -> None:
    client = make_client(markets=1500, dead_heat_rate=1.0)
    halves = 0
    for event in brought(client, "options"):
        values = sorted((m.value_e4 for m in event.markets if m.value_e4), reverse=True)
        if event.template.exclusive and len(event.markets) > 1:
            assert values in ([], [5_000, 5_000])
            halves += values != []
    assert halves > 10


def test_a_number_that_cannot_be_had_settles_each_market_at_its_probability(make_client: Make) -> None:
    client = make_client(markets=1500, scalar_rate=1.0)
    chances = {m.ticker: m.p for m in client.api.exchange.markets.values()}
    events = brought(client, "range") + brought(client, "ladder")
    assert events
    for market in (m for event in events for m in event.markets):
        assert market.value_e4 is not None
        assert abs(market.value_e4 / 1e4 - chances[market.ticker]) < 0.02
        assert market.value_e4 % 100 == 0


def test_a_match_that_is_not_played_settles_between_bid_and_ask(make_client: Make) -> None:
    client = make_client(markets=800, void_rate=1.0)
    exchange = client.api.exchange
    groups = [g for g in exchange.listings.groups if g.kind == "match" and g.start_ms > exchange.now_ms]
    group = min(groups, key=lambda g: g.start_ms)
    client.advance((group.start_ms - exchange.now_ms) / 1000 - 4)
    quotes = {
        m.ticker: (m.bid_e4 if m.bid_e2 else 0, m.ask_e4 if m.ask_e2 else 10_000) for m in group.markets()
    }
    client.advance(120)
    assert group.milestone is not None
    assert group.milestone.body["details"]["status"] == "cancelled"
    for market in group.markets():
        bid, ask = quotes[market.ticker]
        assert market.value_e4 is not None
        assert bid - 100 <= market.value_e4 <= ask + 100
        assert market.value_e4 % 100 == 0
        assert market.result in ("scalar", "yes", "no")


def test_what_an_exclusive_event_is_worth_without_an_outcome_is_a_dollar_at_most(make_client: Make) -> None:
    """Each market between its bid and its ask, as long as that is possible; and so for a number unknown."""
    client = make_client(markets=1500, void_rate=1.0, scalar_rate=1.0, mispricings=False)
    exchange = client.api.exchange
    client.advance(5)
    groups = [g for g in exchange.listings.groups if g.kind == "match" and g.start_ms > exchange.now_ms]
    quotes = {}
    wide = 0
    for group in groups:
        group.void = True
        for market in group.markets():
            quotes[market.ticker] = market.last_quote_e4 = market.shown
    exclusive = 0
    for event in [event for group in groups for event in group.events] + brought(client, "range"):
        exchange.bring(event, "determined")
        values = [market.value_e4 or 0 for market in event.markets]
        assert all(value % 100 == 0 for value in values)
        if event.template.exclusive:
            exclusive += 1
            wide += sum(quotes[m.ticker][1] for m in event.markets if m.ticker in quotes) > 10_000
            assert sum(values) <= 10_000
        for market in event.markets:
            bid, ask = quotes.get(market.ticker, (0, 10_000))
            assert bid - 100 < (market.value_e4 or 0) < ask + 100
    assert exclusive > 30
    assert wide > 10


def test_a_postponed_match_is_played_later(make_client: Make) -> None:
    client = make_client(markets=800, postponed_rate=1.0)
    exchange = client.api.exchange
    groups = [g for g in exchange.listings.groups if g.kind == "match" and g.start_ms > exchange.now_ms]
    group = min(groups, key=lambda g: g.start_ms)
    first_ms = group.start_ms
    client.advance((first_ms - exchange.now_ms) / 1000 + 1)
    assert group.start_ms >= first_ms + 600_000
    assert not group.in_play
    assert group.milestone is not None
    assert group.milestone.body["details"]["status"] == "postponed"
    assert any(market.bid_e2 for market in group.markets())
    exchange.activity.postponed_rate = 0.0
    client.advance((group.start_ms - exchange.now_ms) / 1000 + 1)
    assert group.in_play
