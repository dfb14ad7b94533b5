"""The service follows a replica to its exact position, however the state moved."""

from pathlib import Path

import msgspec

from bus.protocol.join import Tell
from bus.protocol.messages import market_topic
from bus.protocol.state import Changed, State
from bus.scan.membership import scan_limits
from markets.records import Drift, Level, Record
from tests.bus.scan.changes import batch_with
from tests.bus.trading.samples import a_status
from tests.trader.stand import Stand
from tests.trader.world import basket, event_of, leg, settled, view_of
from tests.ui.joined import StillReplica, joined, shown
from tests.ui.stage import MATCH, fill, quote, world
from trader.report import report
from ui.desk import Desk
from ui.service import Service


def no_basket(replica: StillReplica) -> list[tuple[str, str]]:
    low = quote(f"{MATCH}-HOU", (1_500, 40_000), (3_700, 30_000), replica.now_ms())
    return fill(replica.state, [(market_topic("KXMLSGAME"), "quote", [low])])


def kinds(service: Service) -> set[str]:
    return {one.kind for one in service.scan.opportunities}


def test_a_pass_scans_the_state_after_a_join() -> None:
    service, replica = joined()

    assert kinds(service) == {"no_basket", "yes_basket"}
    assert (service.scan.epoch, service.scan.seq) == (1, replica.state.seq)
    assert service._pass(False) is None


def test_a_streamed_change_is_scanned_and_published() -> None:
    service, replica = joined()
    changed = no_basket(replica)
    service.inbox.listen([Changed(replica.state.seq, 0, [(kind, (key,)) for kind, key in changed])])

    batch = service._pass(True)

    assert batch is not None
    assert batch == batch_with([("quote", f"{MATCH}-HOU")])
    assert kinds(service) == {"yes_basket"}


def test_a_halted_trader_is_a_problem_of_the_page() -> None:
    service, replica = joined()
    status = a_status(state="halted", reasons=("halted",), error="the disk is full")
    client = shown(service, replica, Desk(answers=True, heard_ms=replica.now_ms(), status=status))

    problems = client.get("/api/status").json["problems"]
    assert [problem["code"] for problem in problems] == ["trader_halted"]
    assert "the disk is full" in client.get("/").text


def test_a_repair_that_leaves_the_position_is_scanned_too() -> None:
    service, replica = joined()
    seq = replica.state.seq
    no_basket(replica)
    replica.state.seq = seq
    service.inbox.listen([Tell("resynced", {"epoch": 1, "seq": seq})])

    service._pass(True)

    assert kinds(service) == {"yes_basket"}


def test_time_alone_causes_a_pass_after_a_second() -> None:
    service, replica = joined()
    replica.clock.advance(999)
    assert service._pass(False) is None
    replica.clock.advance(scan_limits(service.settings).max_leg_age_ms)
    service._pass(False)

    assert service.scan.tradable == 0
    assert service.scan.now_ms == replica.now_ms()


def test_a_new_epoch_is_scanned_whole() -> None:
    service, replica = joined()
    replica.state = State(2)
    fill(replica.state, world(replica.now_ms(), fillers=0))
    service.inbox.listen([Tell("epoch", {"epoch": 2, "confirmed": False})])

    service._pass(True)

    assert service.scan.epoch == 2
    assert len(service.scans.membership.event_of) == len(replica.state.markets)
    service.catalogue.update(0)
    assert service.catalogue.latest.find(MATCH, 1).hits[0].ticker == MATCH


def test_pages_work_before_the_trader_s_first_answer() -> None:
    service, replica = joined()
    client = shown(service, replica, Desk(answers=True, heard_ms=replica.now_ms()))

    for path in ("/trader", "/", f"/m/{MATCH}-HOU", "/api/trader", "/system", "/api/system"):
        assert client.get(path).status_code == 200, path
    assert "The trader is starting" in client.get("/trader").text


def test_the_system_page_lists_the_exchange_s_departures_from_its_documentation() -> None:
    service, replica = joined()
    client = shown(service, replica, Desk())
    assert "None: every member is as" in client.get("/system").text
    rows: list[Record] = [
        Drift("GET /events", "markets.<b>yes_bid", "unknown", 4_711, 5_000, '"0.4500"'),
        Drift("ws ticker", "msg.price_dollars", "type", 1, 9_000, "7"),
    ]
    fill(replica.state, [("ref.", "drift", rows)])
    page, told = client.get("/system").text, client.get("/api/system").json
    assert page.index("msg.price_dollars") < page.index("markets.&lt;b&gt;yes_bid")  # newest first
    assert "4,711" in page
    assert "wrong type" in page
    assert [row["route"] for row in told["drift"]] == ["ws ticker", "GET /events"]
    assert told["drift_more"] == 0


def test_the_trader_page_names_a_market_that_was_paid_out_without_a_value(tmp_path: Path) -> None:
    service, replica = joined()
    stand = Stand(tmp_path)
    try:
        stand.commit(basket())
        stand.turns(5)
        over = settled(basket(as_of_ms=stand.clock.now_ms()), "HOM")
        odd = msgspec.structs.replace(over.markets[1].market, result="", settlement_value_e4=None)
        markets = (over.markets[0], msgspec.structs.replace(over.markets[1], market=odd), over.markets[2])
        stand.commit(msgspec.structs.replace(over, markets=markets))
        stand.turns(5)
        told = report(stand.worker, stand.clock.now_ms(), 1, 1)
    finally:
        stand.close()
    (void,) = told.status.voids
    assert (void.ticker, 599 < void.booked_in_seconds <= 600) == (odd.ticker, True)
    desk = Desk(answers=True, heard_ms=replica.now_ms(), status=told.status, positions=told.positions)
    page = shown(service, replica, desk).get("/trader").text
    assert (
        "has been paid out, but the exchange does not say at what price. If it still does not in 10" in page
    )


def test_the_trader_page_shows_uneven_baskets_and_why(tmp_path: Path) -> None:
    service, replica = joined()
    stand = Stand(tmp_path)
    event, bid = event_of(), (4_000, 5_000)

    def commit(tie: Level | None) -> None:
        bids = {"HOM": bid, "AWY": bid, "TIE": tie}
        stand.commit(view_of(event, *(leg(event, name, one, None) for name, one in bids.items())))

    try:
        stand.commit(basket(size_e2=5_000))
        stand.turns()
        commit(None)  # nobody sells NO of TIE any more, and nobody buys the others back
        stand.worker.engine.limits = msgspec.structs.replace(stand.worker.engine.limits, leg_age_ms=1)
        stand.turns(4)
        commit(bid)
        stand.turns(6, ms=1_000)  # until the basket is looked at again
        told = report(stand.worker, stand.clock.now_ms(), 1, 1)
    finally:
        stand.close()
    (uneven,) = told.status.uneven
    desk = Desk(answers=True, heard_ms=replica.now_ms(), status=told.status, positions=told.positions)
    page = shown(service, replica, desk).get("/trader").text

    assert uneven.refused
    assert f"is uneven after {uneven.tries} " in page
    assert "Not evened out now: the price of a leg is too old." in page
    assert "payout within 24 h" in page
    assert "expected profit ≥ $0.05" in page
