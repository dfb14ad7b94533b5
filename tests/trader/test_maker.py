"""Strategy maker: where it quotes, how inventory moves it, when it pulls, and how it lives with a broker."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.protocol.state import Changed
from markets.errors import StartupError
from markets.opportunities import EventView
from markets.orders import AmendWanted, CancelWanted, Intent, Proposal
from markets.records import FairValue, Status, Trade
from tests.trader.brokers.fake_gateway import FakeGateway, FakePort
from tests.trader.ledger.builders import intent
from tests.trader.stand import Stand
from tests.trader.world import NOW_MS, START_MS, event_of, leg, view_of
from trader.engine.replay import replay
from trader.journal.reader import Reader
from trader.ledger.lots import Lot
from trader.lineup import load_strategy
from trader.strategies import Update
from trader.strategies.maker import Maker

EVENT = event_of()
TICKER = f"{EVENT.event_ticker}-HOM"


def view(bid_e4: int = 4_000, ask_e4: int = 4_600, as_of_ms: int = NOW_MS, **changes: Any) -> EventView:
    """Others bid and ask this for YES, 100 contracts each."""
    start_ms = changes.pop("start_ms", START_MS)
    made = leg(EVENT, "HOM", (bid_e4, 10_000), (ask_e4, 10_000), as_of_ms=as_of_ms, **changes)
    return view_of(EVENT, made, start_ms=start_ms)


def maker(**params: Any) -> Maker:
    return Maker(Maker.Params(**params))


def lot(count_e2: int, side: str = "yes") -> Lot:
    return Lot(1, "maker", TICKER, EVENT.event_ticker, side, count_e2, 4_000 * count_e2, 0, NOW_MS)


def bid(number: int, side: str = "yes", price_e4: int = 4_000, count_e2: int = 1_000) -> Intent:
    made = intent(number, TICKER, side, price_e4, count_e2)
    return msgspec.structs.replace(
        made, trade=1, strategy="maker", event_ticker=EVENT.event_ticker, time_in_force="gtc", post_only=True
    )


def update(seen: EventView | None = None, **changes: Any) -> Update:
    return Update(view() if seen is None else seen, (), changes.pop("now_ms", NOW_MS), **changes)


def quotes(wanted: Any) -> dict[str, tuple[int, int]]:
    return {one.legs[0].side: (one.legs[0].price_e4, one.legs[0].count_e2) for one in wanted}


def test_it_joins_the_bids_of_both_sides_with_orders_that_only_rest() -> None:
    one = maker()
    (first,) = one.on_update(update())
    assert isinstance(first, Proposal)
    assert (first.time_in_force, first.post_only, first.joins, first.probability) == ("gtc", True, None, None)
    assert first.expires_ms == NOW_MS + 600_000

    (second,) = one.on_update(update(orders=(bid(1),)))
    assert isinstance(second, Proposal)
    assert second.joins == 1
    assert quotes([first, second]) == {"yes": (4_000, 1_000), "no": (5_400, 1_000)}


@pytest.mark.parametrize(
    ("params", "seen", "expected"),
    [
        ({}, view(4_000, 4_600), {"yes": (4_000, 1_000), "no": (5_400, 1_000)}),
        ({"improves": True}, view(4_000, 4_600), {"yes": (4_100, 1_000), "no": (5_500, 1_000)}),
        ({"edge_e4": 400}, view(4_000, 4_600), {"yes": (3_900, 1_000), "no": (5_300, 1_000)}),
        ({"contracts": 3}, view(4_000, 4_600), {"yes": (4_000, 300), "no": (5_400, 300)}),
        ({"spread_e4": 601}, view(4_000, 4_600), {}),
        (
            {"edge_e4": 0, "spread_e4": 0, "improves": True},
            view(4_000, 4_100),
            {"yes": (4_000, 1_000), "no": (5_900, 1_000)},
        ),
        ({}, view(4_000, 4_600, suspect=True), {}),
        ({}, view(4_700, 4_600), {}),
        ({}, view(4_000, 4_600, status=Status.INACTIVE), {}),
        ({}, view(4_000, 4_600, as_of_ms=NOW_MS - 30_001), {}),
        ({}, view(start_ms=NOW_MS + 300_000), {}),
        (
            {"before_start_s": 299.0},
            view(start_ms=NOW_MS + 300_000),
            {"yes": (4_000, 1_000), "no": (5_400, 1_000)},
        ),
        ({"before_close_s": 86_400.0}, view(), {}),
        ({"within_hours": 1.0}, view(), {}),
        ({"series": ("KXNBAGAME",)}, view(), {}),
        ({"fair": "values"}, view(), {}),
    ],
)
def test_where_it_quotes(params: dict[str, Any], seen: EventView, expected: dict[str, Any]) -> None:
    one = maker(**params)
    # With a lot of its own the trade is there, and both sides are wanted at once.
    found = one.on_update(update(seen, lots=(lot(1),)))

    assert quotes(found) == expected


def test_what_it_holds_moves_both_quotes_and_a_full_inventory_ends_one() -> None:
    calm = {"edge_e4": 300, "skew_e4": 200, "inventory": 20}

    flat = quotes(maker(**calm).on_update(update(lots=(lot(1),))))
    long = quotes(maker(**calm).on_update(update(lots=(lot(1_000),))))
    full = quotes(maker(**calm).on_update(update(lots=(lot(2_000),))))
    short = quotes(maker(**calm).on_update(update(lots=(lot(1_000, "no"),))))
    assert (flat["yes"][0], flat["no"][0]) == (4_000, 5_400)
    assert (long["yes"][0], long["no"][0]) == (3_900, 5_400)
    assert set(full) == {"no"}
    assert (short["yes"][0], short["no"][0]) == (4_000, 5_300)


def test_with_an_accepted_value_it_quotes_around_that() -> None:
    values = {TICKER: FairValue(TICKER, 0.36, "mine", NOW_MS)}
    told = update(fair_values=values, accepted=frozenset(("mine",)), lots=(lot(1),))

    around = quotes(maker(fair="values").on_update(told))
    assert around == {"yes": (3_500, 1_000), "no": (5_400, 1_000)}


def test_a_quote_is_moved_only_when_it_is_off_and_keeps_what_it_got() -> None:
    one = maker(reprice_e4=200)
    both = (bid(1), bid(2, "no", 5_400))

    assert one.on_update(update(view(4_100, 4_600), orders=both)) == []
    moved = one.on_update(update(view(4_200, 4_700), orders=both, filled={1: 350}))
    assert moved == [AmendWanted("maker", EVENT.event_ticker, 1, 4_200, 1_400)]
    assert one.on_update(update(view(4_200, 4_700), orders=both, asked=frozenset((1,)))) == []
    down = one.on_update(update(view(3_800, 4_400), orders=both))
    assert [(type(each), getattr(each, "number", 0)) for each in down] == [(AmendWanted, 1), (AmendWanted, 2)]


@pytest.mark.parametrize(
    "seen",
    [view(suspect=True), view(4_400, 4_500), view(start_ms=NOW_MS), view(status=Status.CLOSED)],
    ids=["doubt", "no room", "started", "closed"],
)
def test_it_pulls_what_it_should_not_have_there(seen: EventView) -> None:
    both = (bid(1), bid(2, "no", 5_400))

    assert maker().on_update(update(seen, orders=both)) == [
        CancelWanted("maker", EVENT.event_ticker, 1),
        CancelWanted("maker", EVENT.event_ticker, 2),
    ]


def test_of_an_event_that_says_nothing_any_more_it_pulls_once() -> None:
    one = maker(stale_s=10.0)
    one.on_update(update(orders=(bid(1),)))

    assert one.on_timer(NOW_MS + 10_000) == []
    assert one.on_timer(NOW_MS + 10_001) == [CancelWanted("maker", EVENT.event_ticker, 1)]
    assert one.on_timer(NOW_MS + 20_000) == []


def test_it_quotes_no_more_markets_and_sends_no_more_a_minute_than_it_may() -> None:
    event = event_of()
    many = view_of(event, *(leg(event, name, (4_000, 10_000), (4_600, 10_000)) for name in ("A", "B", "C")))
    own = msgspec.structs.replace(lot(1), ticker=f"{event.event_ticker}-A")

    few = maker(markets=2).on_update(update(many, lots=(own,)))
    assert {one.legs[0].ticker for one in few if isinstance(one, Proposal)} == {
        f"{event.event_ticker}-A",
        f"{event.event_ticker}-B",
    }
    assert len(maker(per_minute=3).on_update(update(many, lots=(own,)))) == 3


def test_it_asks_for_few_events_and_gives_up_on_what_cannot_be_quoted() -> None:
    one = maker(events=2, series=("KXMLSGAME",))
    events = [event_of(number) for number in (1, 2, 3)]

    assert [one.wants(event) for event in events] == [True, True, False]
    assert not one.wants(event_of(4, series_ticker="KXNBAGAME"))
    one.on_update(update(view(4_400, 4_500)))
    assert [one.wants(event) for event in events] == [False, True, True]


def test_an_event_of_which_risk_wants_nothing_is_left_alone_after_some_tries() -> None:
    one = maker()
    assert one.wants(EVENT)

    tried = [len(one.on_update(update())) for _ in range(8)]
    assert tried == [1, 1, 1, 1, 1, 1, 0, 1]


@pytest.mark.parametrize("bad", ["markets=0", "edge_e4=-1", "life_s=0.5", "fair='luck'", "stale_s=0"])
def test_a_parameter_out_of_range_refuses_the_start(bad: str) -> None:
    with pytest.raises(StartupError):
        load_strategy(f"maker({bad})").make()


# -- with a broker: the paper broker, and an order gateway


def board(stand: Stand, bid_e4: int = 4_000, ask_e4: int = 4_600) -> None:
    stand.commit(view(bid_e4, ask_e4, as_of_ms=stand.clock.now_ms()))
    stand.turns(4)


def open_quotes(stand: Stand) -> dict[str, tuple[int, int]]:
    orders = stand.worker.engine.ledger.open.values()
    return {order.side: (order.price_e4, order.count_e2) for order in orders}


def check(stand: Stand) -> dict[int, dict[str, Any]]:
    stand.worker.engine.ledger.check_whole()
    stand.journal.commit()
    reader = Reader(stand.worker.around.journal_path)
    try:
        assert reader.ledger() == stand.worker.engine.ledger
        for session in reader.sessions():
            assert replay(reader.inputs(session), load_strategy).differs_at is None
        return {row["number"]: row for row in reader.orders(100, 10**9)}
    finally:
        reader.close()


TEXT = "maker(reprice_e4=100)"


def traded(stand: Stand, side: str, count_e2: int, yes_price_e4: int) -> None:
    trade = Trade("t", TICKER, yes_price_e4, count_e2, side, stand.clock.now_ms())
    stand.feed.say(Changed(stand.feed.state.seq, 0, [("trade", [TICKER])], [trade]))
    stand.turns(4)


def test_it_quotes_fills_moves_and_pulls_with_the_paper_broker(tmp_path: Path) -> None:
    stand = Stand(tmp_path, env={"KALSHI_BUS_STRATEGIES": TEXT})
    try:
        for _ in range(3):
            board(stand)
        assert open_quotes(stand) == {"yes": (4_000, 1_000), "no": (5_400, 1_000)}

        traded(stand, "no", 10_500, 4_000)  # a hundred contracts are ahead, five are ours
        traded(stand, "yes", 10_500, 4_600)
        ledger = stand.worker.engine.ledger
        assert ledger.lots == {}
        assert ledger.realised_e6 == 500 * 600  # bought at 40, sold at 46, and no fee
        assert ledger.fees_e6 == 0

        board(stand, 4_200, 4_800)
        assert open_quotes(stand) == {"yes": (4_200, 1_500), "no": (5_200, 1_500)}
        board(stand, 4_200, 4_300)
        stand.turns(4)
        assert open_quotes(stand) == {}
        rows = check(stand)
        assert {row["status"] for row in rows.values()} == {"cancelled"}
        assert {row["trade"] for row in rows.values()} == {1}
    finally:
        stand.close()


def test_quotes_are_pulled_over_a_restart(tmp_path: Path) -> None:
    stand = Stand(tmp_path, env={"KALSHI_BUS_STRATEGIES": TEXT})
    try:
        for _ in range(3):
            board(stand)
        assert len(open_quotes(stand)) == 2
    finally:
        stand.close()

    again = Stand(tmp_path, now_ms=stand.clock.now_ms() + 5_000, env={"KALSHI_BUS_STRATEGIES": TEXT})
    try:
        again.turns(6)
        assert open_quotes(again) == {}
        check(again)
    finally:
        again.close()


def test_it_quotes_changes_and_pulls_at_an_exchange(tmp_path: Path) -> None:
    gateway = FakeGateway()
    gateway.plan = lambda one: [] if one.time_in_force == "gtc" else [(one.price_e4, one.count_e2)]
    stand = Stand(tmp_path, env={"KALSHI_BUS_STRATEGIES": TEXT}, gateway=FakePort(gateway))
    try:
        for _ in range(6):
            board(stand)
        assert open_quotes(stand) == {"yes": (4_000, 1_000), "no": (5_400, 1_000)}
        number = next(n for n, one in stand.worker.engine.ledger.open.items() if one.side == "yes")
        gateway.fill(number, 4_000, 400)
        stand.turns(10)
        assert stand.worker.engine.ledger.lots[TICKER][1].count_e2 == 400

        for _ in range(4):
            board(stand, 4_200, 4_800)
        assert open_quotes(stand)["yes"] == (4_200, 1_400)
        for _ in range(4):
            board(stand, 4_200, 4_300)
        assert open_quotes(stand) == {}
        check(stand)
    finally:
        stand.close()


def test_it_does_not_quote_around_itself_where_its_own_quotes_are_shown(tmp_path: Path) -> None:
    gateway = FakeGateway()
    gateway.plan = lambda one: [] if one.time_in_force == "gtc" else [(one.price_e4, one.count_e2)]
    env = {"KALSHI_BUS_STRATEGIES": "maker(improves=True, reprice_e4=0)"}
    stand = Stand(tmp_path, env=env, gateway=FakePort(gateway))

    def show(own_e2: int) -> None:
        ours = [(4_100, own_e2)] if own_e2 else [], [(5_500, own_e2)] if own_e2 else []
        books = ([(4_000, 10_000), *ours[0]], [(5_400, 10_000), *ours[1]])
        stand.commit(view_of(EVENT, leg(EVENT, "HOM", book=books, as_of_ms=stand.clock.now_ms())))
        stand.turns(4)

    try:
        for _ in range(6):
            show(0)
        placed = {"yes": (4_100, 1_000), "no": (5_500, 1_000)}
        assert open_quotes(stand) == placed
        orders = set(stand.worker.engine.ledger.open)
        for _ in range(4):
            show(1_000)
        assert open_quotes(stand) == placed
        assert set(stand.worker.engine.ledger.open) == orders

        number = next(n for n, one in stand.worker.engine.ledger.open.items() if one.side == "no")
        gateway.fill(number, 5_500, 400)  # what is held is not marked at one's own bid
        stand.turns(4)
        show(1_000)
        seen = stand.worker.engine.taken.of_others(stand.worker.engine.views[EVENT.event_ticker])
        book = seen.markets[0].book
        assert book is not None
        assert (book.yes[-1], book.no[-1]) == ((4_000, 10_000), (5_500, 400))
        check(stand)
    finally:
        stand.close()
