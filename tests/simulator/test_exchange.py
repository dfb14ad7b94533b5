"""The exchange lives: books and quotes agree, only what was planted is free, events run their course."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from markets.units import parse_time_ms
from simulator.floor.happenings import Trade
from simulator.floor.latent import Underlying, Window
from simulator.floor.mispricing import fee_multiplier, nested
from simulator.floor.model import ACTIVE, NOTHING_STAYS, Event, Market
from simulator.universe.templates import Role
from tests.simulator.venue import START_MS, Client

Make = Callable[..., Client]


class Heard:
    """A listener that writes down what it hears."""

    def __init__(self) -> None:
        self.quotes: Counter[str] = Counter()
        self.trades: list[Trade] = []
        self.life: list[tuple[str, str, int]] = []

    def quoted(self, market: Market, changes: list[Any], time_ms: int) -> None:
        self.quotes[market.ticker] += 1

    def emptied(self, market: Market, time_ms: int) -> None:
        pass

    def deepened(self, market: Market, changes: list[Any], time_ms: int) -> None:
        pass

    def traded(self, trade: Trade) -> None:
        self.trades.append(trade)

    def announced(
        self, event_type: str, subject: Market | Event, fields: dict[str, Any], time_ms: int
    ) -> None:
        self.life.append((event_type, subject.ticker, time_ms))


def assert_quotes_agree(client: Client, market: dict[str, Any], book: dict[str, Any]) -> None:
    """The complement rule between a Market object and its book, and the price grid."""
    yes, no = book["yes_dollars"], book["no_dollars"]
    for levels, price, size in (
        (yes, "yes_bid_dollars", "yes_bid_size_fp"),
        (no, "no_bid_dollars", "yes_ask_size_fp"),
    ):
        assert [float(p) for p, _ in levels] == sorted({float(p) for p, _ in levels})
        if levels:
            assert [market[price], market[size]] == levels[-1]
        else:
            assert market[size] == "0.00"
    for bid, ask in (("yes_bid_dollars", "no_ask_dollars"), ("no_bid_dollars", "yes_ask_dollars")):
        assert round(float(market[bid]) + float(market[ask]), 4) == 1
    for price, _ in [*yes, *([f"{1 - float(price):.4f}", count] for price, count in no)]:
        bands = [b for b in market["price_ranges"] if float(b["start"]) <= float(price) <= float(b["end"])]
        assert 0 < float(price) < 1
        assert any(round((float(price) - float(b["start"])) / float(b["step"]), 6) % 1 == 0 for b in bands)


def test_every_book_agrees_with_its_market_at_every_moment(client: Client) -> None:
    tickers = [m["ticker"] for m in client.walk("/markets?limit=1000", "markets")]
    for _ in range(6):
        client.advance(30)
        for ticker in tickers[::3]:
            market = client.get(f"/markets/{ticker}")["market"]
            assert_quotes_agree(client, market, client.get(f"/markets/{ticker}/orderbook")["orderbook_fp"])


def test_no_quote_of_an_unplanted_market_gives_money_away(client: Client) -> None:
    for _ in range(20):
        client.advance(15)
        for market in client.api.exchange.markets.values():
            if market.event.status != ACTIVE or market.fair_shift_e4:
                continue
            # One consistent measure p with bid <= p <= ask: no portfolio is a sure profit.
            assert not market.bid_e2 or market.bid_e4 <= 1e4 * market.p + 1e-6
            assert not market.ask_e2 or market.ask_e4 >= 1e4 * market.p - 1e-6
            assert not (market.bid_e2 and market.ask_e2) or market.bid_e4 < market.ask_e4


def test_what_is_known_of_how_long_a_quote_stays_is_of_the_present_quote(client: Client) -> None:
    exchange = client.api.exchange
    known = 0
    for _ in range(10):
        client.advance(30)
        for market in exchange.markets.values():
            bounds = market.stays_from, market.stays_to
            if bounds == NOTHING_STAYS:
                continue
            known += 1
            assert not market.bid_e2 or bounds[0] == market.bid_e4
            assert not market.ask_e2 or bounds[1] <= market.ask_e4
            assert market.bid_e2 or market.ask_e2
    assert known > 100


def test_probabilities_of_an_exclusive_event_sum_to_one_at_most_and_ladders_fall(client: Client) -> None:
    client.advance(120)
    for event in client.api.exchange.events.values():
        chances = [(m.role, event.group.latent.probability(m.role)) for m in event.markets]
        if event.template.exclusive:
            assert sum(p for _, p in chances) <= 1 + 0.001 * len(chances)
        for kind in ("above", "total"):
            ladder = [p for role, p in sorted(chances, key=lambda c: c[0].floor) if role.kind == kind]
            assert ladder == sorted(ladder, reverse=True)


def fees(client: Client, market: Market, price_e4: int) -> float:
    rate = 0.07 * fee_multiplier(market.event)
    return rate * price_e4 / 1e4 * (1 - price_e4 / 1e4)


def cost(client: Client, planted: dict[str, Any]) -> float:
    """Return what one contract of each leg of a planted mispricing costs, fees included."""
    total = 0.0
    for ticker, side in zip(planted["tickers"], planted["sides"], strict=True):
        leg = client.api.exchange.markets[ticker]
        price = leg.ask_e4 if side == "bid" else leg.bid_e4
        total += (price if side == "bid" else 10_000 - price) / 1e4 + fees(client, leg, price)
    return total


def test_planted_mispricings_of_every_kind_stand_at_any_time_and_pay_what_they_say(make_client: Make) -> None:
    client = make_client(markets=1500, rivals=False)
    exchange = client.api.exchange
    client.advance(25)
    numbers = []
    kinds: Counter[str] = Counter()
    for _ in range(120):
        client.advance(5)
        told = [m for m in client_truth(client) if m["active"]]
        numbers.append(len(told))
        kinds.update(m["kind"] for m in told)
        for planted in told:
            assert 30_000 <= planted["until_ms"] - planted["from_ms"] <= 120_000
            legs = [exchange.markets[t] for t in planted["tickers"]]
            assert all(min(leg.bid_e2, leg.ask_e2) >= 5_000 for leg in legs)
            if planted["kind"] == "value":
                (leg,) = legs
                others = sum(m.p for m in leg.event.markets if m is not leg)
                off = max(leg.bid_e4 / 1e4 - (1 - others), (1 - others) - leg.ask_e4 / 1e4)
                assert off > 0.02, (leg.ticker, leg.bid_e4, leg.ask_e4, others)
                continue
            pays = len(legs) - 1 if planted["kind"] == "no_basket" else 1
            profit = pays - cost(client, planted)
            assert profit > 0.009
            assert profit == pytest.approx(float(planted["edge_dollars"]), abs=3e-4)
    assert set(kinds) >= {"no_basket", "yes_basket", "ladder", "implication", "value"}
    assert min(numbers) >= 3
    assert 4 <= sum(numbers) / len(numbers) <= 12


def test_what_is_nested_is_so_whatever_comes(make_client: Make) -> None:
    client = make_client(markets=1500)
    pairs = [pair for group in client.api.exchange.listings.groups for pair in nested(group)]
    assert {kind for kind, _, _ in pairs} >= {"ladder", "implication"}
    client.advance(30 * 60)
    done = [(kind, wider, narrower) for kind, wider, narrower in pairs if wider.result and narrower.result]
    assert len(done) >= 20
    for kind, wider, narrower in done:
        assert not (wider.result == "no" and narrower.result == "yes"), (kind, wider.ticker, narrower.ticker)


def test_the_rival_of_record_takes_one_leg_of_every_basket_a_second_after_it_appears(
    make_client: Make,
) -> None:
    client = make_client(markets=1500)
    exchange = client.api.exchange
    client.advance(20 * 60)
    taken = [t for t in exchange.rivals.taken if t.who == "record"]
    planted = {(m.kind, m.event_ticker, m.from_ms): m for m in exchange.mispricings}
    delays = []
    for take in taken:
        mine = [
            m for (kind, event, from_ms), m in planted.items()
            if (kind, event) == (take.kind, take.event_ticker) and from_ms <= take.time_ms
        ]  # fmt: skip
        if mine:
            delays.append(take.time_ms - max(m.from_ms for m in mine))
    assert len(delays) > 80
    assert 700 < sum(delays) / len(delays) < 1_400
    assert sum(t.count_e2 > 0 for t in taken) > 0.9 * len(taken)


def test_whoever_takes_what_is_offered_sees_some_of_it_settle_within_half_an_hour(make_client: Make) -> None:
    client = make_client(markets=1500)
    exchange = client.api.exchange
    offered: set[str] = set()
    for _ in range(180):
        client.advance(10)
        offered |= {m.event_ticker for m in exchange.mispricings}
    settled = [ticker for ticker in offered if exchange.events[ticker].status == "finalized"]
    assert len(settled) >= 2
    assert all(m.result for ticker in settled for m in exchange.events[ticker].markets)


def client_truth(client: Client) -> list[dict[str, Any]]:
    mispricings: list[dict[str, Any]] = json.loads(client.send("/sim/truth?tickers=x").body)["mispricings"]
    return mispricings


def test_a_mispricing_ends(make_client: Make) -> None:
    client = make_client(markets=600, pace=0.0)
    client.advance(120)
    client.api.exchange.activity.mispricings = False
    client.advance(120)
    assert not [m for m in client.api.exchange.markets.values() if m.fair_shift_e4]


def test_about_five_percent_of_the_quotes_change_in_a_sweep(make_client: Make) -> None:
    client = make_client(markets=1500)
    heard = Heard()
    client.advance(60)
    client.api.exchange.listeners.append(heard)
    shares = []
    for _ in range(20):
        heard.quotes.clear()
        client.advance(12)
        shares.append(len(heard.quotes) / len(client.api.exchange.markets))
    assert 0.02 < sum(shares) / len(shares) < 0.12


def test_matches_start_close_early_are_settled_and_followed_by_new_ones_within_minutes(
    make_client: Make,
) -> None:
    client = make_client(markets=1000, bursts=False)
    heard = Heard()
    client.api.exchange.listeners.append(heard)
    client.advance(15 * 60)
    kinds = Counter(kind for kind, _, _ in heard.life)
    for kind in (
        "created",
        "event_created",
        "close_date_updated",
        "determined",
        "settled",
        "metadata_updated",
    ):
        assert kinds[kind] > 0, kind
    started = [
        m
        for m in client.walk("/milestones?limit=500", "milestones")
        if m["details"]["status"] == "inprogress"
    ]
    assert len(started) >= 2
    first_settled = next(ticker for kind, ticker, _ in heard.life if kind == "settled")
    order = [kind for kind, ticker, _ in heard.life if ticker == first_settled]
    assert order.index("determined") < order.index("settled")


def test_times_of_a_match_follow_its_start(client: Client) -> None:
    events = client.walk("/events?with_nested_markets=true&series_ticker=KXMLBGAME", "events")
    milestones = client.walk("/milestones?limit=500", "milestones")
    starts = {t: m["start_date"] for m in milestones for t in m["related_event_tickers"]}
    assert events
    for event in events:
        start = parse_time_ms(starts[event["event_ticker"]])
        for market in event["markets"]:
            assert parse_time_ms(market["occurrence_datetime"]) == start + 3 * 3_600_000
            assert market["expected_expiration_time"] == market["occurrence_datetime"]
            if market["status"] in ("initialized", "active") and start > client.now_ms:
                assert parse_time_ms(market["close_time"]) == start + 72 * 3_600_000
            assert parse_time_ms(market["open_time"]) > parse_time_ms(market["created_time"])


def test_quoters_pull_before_the_start_and_come_back(make_client: Make) -> None:
    client = make_client(markets=1500)
    group = min(
        (
            g
            for g in client.api.exchange.listings.groups
            if g.kind == "match" and g.start_ms > START_MS + 5_000
        ),
        key=lambda g: g.start_ms,
    )

    def quoted() -> int:
        return sum(1 for m in group.markets() if m.bid_e2 or m.ask_e2)

    client.advance((group.start_ms - 4_000 - START_MS) / 1000)
    assert quoted()
    client.advance(2.5)
    assert not quoted()
    client.advance(3)
    assert quoted()


def test_matches_in_play_at_the_beginning_already_have_a_score(make_client: Make) -> None:
    client = make_client(markets=3000)
    playing = [
        m
        for m in client.walk("/milestones?limit=500", "milestones")
        if m["details"]["status"] == "inprogress"
    ]
    scores = [client.get(f"/live_data/milestone/{m['id']}")["live_data"]["details"] for m in playing]
    assert len(scores) > 4
    assert sum(s["home_points"] + s["away_points"] > 0 for s in scores) > len(scores) / 2


def test_finished_markets_name_their_result_and_have_empty_books(make_client: Make) -> None:
    client = make_client(markets=800, bursts=False)
    client.advance(600)
    settled = client.get("/markets?status=settled&limit=1000")["markets"]
    assert settled
    for market in settled:
        assert market["status"] == "finalized"
        assert (market["result"], market["settlement_value_dollars"]) in (("yes", "1.0000"), ("no", "0.0000"))
        assert market["settlement_ts"] > market["close_time"]
        assert market["yes_bid_size_fp"] == market["yes_ask_size_fp"] == "0.00"
    by_event: dict[str, list[str]] = {}
    for market in settled:
        by_event.setdefault(market["event_ticker"], []).append(market["result"])
    for ticker, results in by_event.items():
        if client.get(f"/events/{ticker}")["event"]["mutually_exclusive"]:
            assert results.count("yes") <= 1


def test_the_same_seed_and_clock_give_the_same_bytes_whatever_was_asked_meanwhile(make_client: Make) -> None:
    quiet, busy = make_client(seed=3), make_client(seed=3)
    for second in range(0, 120, 10):
        busy.advance(10)
        busy.get("/markets?limit=1000")
        if second % 30 == 0:
            busy.get("/events?with_nested_markets=true&limit=50")
    quiet.advance(120)
    target = "/trade-api/v2/markets?limit=1000"
    assert quiet.send(target).body == busy.send(target).body
    assert quiet.send("/sim/truth").body == busy.send("/sim/truth").body
    other = make_client(seed=4)
    other.advance(120)
    assert other.send(target).body != quiet.send(target).body


def test_trades_move_volume_and_last_price(make_client: Make) -> None:
    client = make_client(trade_share=1.0)
    heard = Heard()
    exchange = client.api.exchange
    before = {t: m.volume_e2 for t, m in exchange.markets.items()}
    exchange.listeners.append(heard)
    client.advance(120)
    assert len(heard.trades) > 20
    volumes: Counter[str] = Counter()
    for trade in heard.trades:
        volumes[trade.market.ticker] += trade.count_e2
    for ticker, volume in volumes.items():
        assert exchange.markets[ticker].volume_e2 - before.get(ticker, 0) == volume
    last = {t.market.ticker: t.yes_price_e4 for t in heard.trades}
    assert all(exchange.markets[t].last_e4 == price for t, price in last.items())


@pytest.mark.parametrize("kind", ["range", "ladder", "updown", "options", "match"])
def test_every_kind_of_event_is_there(client: Client, kind: str) -> None:
    assert any(g.kind == kind for g in client.api.exchange.listings.groups)


def test_a_window_takes_its_strike_at_the_opening(make_client: Make) -> None:
    client = make_client(markets=1500)
    exchange = client.api.exchange
    event = next(
        e for e in exchange.events.values() if isinstance(e.group.latent, Window) and e.open_ms > START_MS
    )
    before = client.get(f"/events/{event.ticker}")["markets"][0]
    assert before["status"] == "initialized"
    assert before["yes_sub_title"].endswith("TBD")
    assert "floor_strike" not in before
    client.advance((event.open_ms - START_MS) / 1000 + 1)
    after = client.get(f"/events/{event.ticker}")["markets"][0]
    assert after["status"] == "active"
    assert float(after["yes_sub_title"].split("$")[1].replace(",", "")) == after["floor_strike"]


def test_buckets_of_a_temperature_cover_everything() -> None:
    weather = Underlying(70.0, 3.0, 1000.0)
    buckets = [Role("below", floor=65.5), Role("between", floor=65.5, cap=74.5), Role("above", floor=74.5)]
    assert sum(weather.probability(r) for r in buckets) == pytest.approx(1, abs=0.002)


def test_grids_come_in_the_real_mixture_and_one_gets_finer_in_place(make_client: Make) -> None:
    client = make_client(markets=6000, bursts=False)
    grids = Counter(m["price_level_structure"] for m in client.walk("/markets?limit=1000", "markets"))
    assert grids["linear_cent"] > 0.85 * grids.total()
    assert grids["tapered_deci_cent"] > 0.02 * grids.total()
    assert 0 < grids["deci_cent"] < 0.03 * grids.total()
    heard = Heard()
    client.api.exchange.listeners.append(heard)
    client.advance(130)
    (ticker,) = {ticker for kind, ticker, _ in heard.life if kind == "price_level_structure_updated"}
    market = client.get(f"/markets/{ticker}")["market"]
    assert market["price_level_structure"] == "tapered_deci_cent"
    assert [band["step"] for band in market["price_ranges"]] == ["0.0010", "0.0100", "0.0010"]
    assert_quotes_agree(client, market, client.get(f"/markets/{ticker}/orderbook")["orderbook_fp"])
