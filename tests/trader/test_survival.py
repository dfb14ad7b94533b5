"""What a trader lives through: outages of days, markets that go, come back, or are decided otherwise."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.protocol.state import Changed
from markets.opportunities import EventView
from markets.records import Remove, Status
from markets.units import DAY_MS
from tests.trader.stand import Stand
from tests.trader.world import NOW_MS, basket, settled
from trader.brokers.paper import PaperBroker
from trader.command import command
from trader.journal.reader import Reader
from trader.ledger.lots import Recorded, trade_lots

Make = Callable[..., Stand]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Stand] = []

    def stand(**changes: Any) -> Stand:
        made.append(Stand(tmp_path, **changes))
        return made[-1]

    yield stand
    for one in made:
        one.close()


def bought(stand: Stand) -> frozenset[str]:
    """Let it buy a basket; return the markets."""
    stand.commit(basket())
    stand.turns(6)
    held = frozenset(stand.worker.engine.ledger.lots)
    assert len(held) == 3
    return held


def paid(stand: Stand) -> list[tuple[str, str]]:
    with_result = Reader(stand.worker.around.journal_path).settlements(10, 99)
    return sorted((str(row["ticker"]).rsplit("-", 1)[1], str(row["result"])) for row in with_result)


def later(view: EventView, now_ms: int) -> EventView:
    """The same, seen now."""
    markets = tuple(
        msgspec.structs.replace(
            one, quote=msgspec.structs.replace(one.quote, as_of_ms=now_ms), quote_as_of_ms=now_ms
        )
        for one in view.markets
    )
    return msgspec.structs.replace(view, markets=markets)


def test_what_was_held_over_an_outage_of_forty_days_is_asked_for_by_name_and_settled(make: Make) -> None:
    stand = make()
    held = bought(stand)
    stand.close()

    wished: set[tuple[str, str]] = set()

    def wish(tickers: Sequence[str], _ttl_s: float, what: str) -> None:
        wished.update((what, ticker) for ticker in tickers)

    now_ms = NOW_MS + 40 * DAY_MS
    again = make(now_ms=now_ms, around=lambda real: msgspec.structs.replace(real, wish=wish))
    again.commit()  # nothing that it holds is listed any more
    again.turns(10)
    assert {ticker for what, ticker in wished if what == "market"} == held
    assert set(again.worker.engine.ledger.lots) == held

    again.commit(later(settled(basket(), "AWY"), again.clock.now_ms()))  # as the publisher reads them by name
    again.turns(3)
    assert paid(again) == [("AWY", "yes"), ("HOM", "no"), ("TIE", "no")]
    assert again.worker.engine.ledger.at_stake_e6() == 0
    assert again.worker.engine.ledger.lots == {}


def test_markets_whose_event_nobody_knows_any_more_are_settled(make: Make) -> None:
    stand = make()
    bought(stand)
    stand.close()

    again = make(now_ms=NOW_MS + 40 * DAY_MS)
    view = later(settled(basket(), "HOM"), again.clock.now_ms())
    again.commit(view)
    # As of an event that is 404: its markets are read without it.
    with again.feed.state.lock:
        again.feed.state.put("ref.", 99, "remove", [Remove("event", view.event.event_ticker)])
    again.turns(3)
    assert paid(again) == [("AWY", "no"), ("HOM", "yes"), ("TIE", "no")]
    assert again.worker.engine.ledger.lots == {}


def test_a_market_that_vanishes_is_held_until_it_is_back_with_its_result(make: Make) -> None:
    stand = make()
    held = bought(stand)
    topic = f"md.{basket().event.series_ticker}."
    removals = [Remove("market", ticker) for ticker in sorted(held)]
    with stand.feed.state.lock:
        groups = stand.feed.state.put(topic, 99, "remove", removals)
    stand.feed.say(Changed(99, 0, groups))
    stand.turns(40)
    assert set(stand.worker.engine.ledger.lots) == held
    assert stand.worker.state == "running"
    assert not stand.worker.failed

    stand.commit(settled(basket(), "TIE"))
    stand.turns(3)
    assert paid(stand) == [("AWY", "no"), ("HOM", "no"), ("TIE", "yes")]


def test_a_result_that_is_corrected_before_it_is_paid_pays_as_corrected_and_once(make: Make) -> None:
    stand = make()
    bought(stand)
    for winner, status in (("HOM", Status.DETERMINED), ("HOM", Status.DISPUTED), ("AWY", Status.DETERMINED)):
        stand.commit(settled(basket(), winner, status))
        stand.turns(3)
        assert paid(stand) == []
    for _ in range(3):  # it is said again and again
        stand.commit(settled(basket(), "AWY"))
        stand.turns(3)
    assert paid(stand) == [("AWY", "yes"), ("HOM", "no"), ("TIE", "no")]
    ledger = stand.worker.engine.ledger
    assert ledger.cash_e6 == ledger.start_e6 - ledger.spent_e6 - ledger.fees_e6 + ledger.payouts_e6


def corrected(view: EventView, winner: str, values: Mapping[str, int] | None = None) -> EventView:
    return later(settled(view, winner, Status.FINALIZED, **(values or {})), NOW_MS + 60_000)


def test_a_result_that_is_corrected_after_it_was_booked_is_booked_anew_and_once(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stand = make()
    bought(stand)
    stand.commit(settled(basket(), "HOM"))
    stand.turns(3)
    before = stand.worker.engine.ledger.copy()
    assert paid(stand) == [("AWY", "no"), ("HOM", "yes"), ("TIE", "no")]
    stand.close()  # it is known after a restart as well

    again = make()
    for _ in range(3):
        again.commit(corrected(basket(), "AWY"))
        again.turns(3)
    ledger = again.worker.engine.ledger
    assert paid(again) == [("AWY", "yes"), ("HOM", "no"), ("TIE", "no")]
    # Of three NO of one size two pay, whichever they are.
    assert (ledger.cash_e6, ledger.realised_e6) == (before.cash_e6, before.realised_e6)
    again.commit(corrected(basket(), "AWY", {"HOM": 2_500}))
    again.turns(3)
    count_e2 = ledger.recent[f"{basket().event.event_ticker}-HOM"].settlement.count_e2
    assert before.cash_e6 - ledger.cash_e6 == 2_500 * count_e2 > 0
    assert ledger.cash_e6 == ledger.start_e6 - ledger.spent_e6 - ledger.fees_e6 + ledger.payouts_e6
    (trade,) = {entry.trade for entry in trade_lots(record(again)).closed}
    earned_e6 = sum(part.gain_e6 for part in trade_lots(record(again)).closed if part.trade == trade)
    assert earned_e6 == ledger.cash_e6 - ledger.start_e6
    again.turns(400)
    assert again.worker.reconciled
    again.close()

    monkeypatch.setenv("KALSHI_BUS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KALSHI_BUS_MODE", "paper")
    assert command(["verify"]) == command(["reconcile"]) == 0
    assert "identical" in capsys.readouterr().out
    path = again.worker.around.journal_path
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE corrections SET payout_e6 = payout_e6 + 10000 WHERE id = 1")
    assert command(["verify"]) == 1


def record(stand: Stand) -> list[Recorded]:
    with contextlib.closing(Reader(stand.worker.around.journal_path)) as reader:
        return reader.record()


def test_what_was_taken_for_void_is_booked_anew_when_its_value_is_said(make: Make) -> None:
    stand = make()
    bought(stand)
    void = settled(basket(), "HOM")
    unknown = tuple(
        msgspec.structs.replace(
            one, market=msgspec.structs.replace(one.market, result="", settlement_value_e4=None)
        )
        for one in void.markets
    )
    stand.commit(msgspec.structs.replace(void, markets=unknown))
    stand.turns(650, ms=1_000)
    assert paid(stand) == [("AWY", "void"), ("HOM", "void"), ("TIE", "void")]

    stand.commit(later(void, stand.clock.now_ms()))
    stand.turns(3)
    assert paid(stand) == [("AWY", "no"), ("HOM", "yes"), ("TIE", "no")]


def test_after_a_week_a_settlement_stands(make: Make) -> None:
    stand = make()
    bought(stand)
    stand.commit(settled(basket(), "HOM"))
    stand.turns(3)
    stand.close()

    for days, winner in ((6, "AWY"), (8, "HOM")):  # the week counts from the first
        again = make(now_ms=NOW_MS + days * DAY_MS)
        again.commit(later(corrected(basket(), winner), again.clock.now_ms()))
        again.turns(3)
        assert paid(again) == [("AWY", "yes"), ("HOM", "no"), ("TIE", "no")]
        again.close()


def taken(stand: Stand) -> set[str]:
    broker = stand.worker.session.broker
    assert isinstance(broker, PaperBroker)
    return {ticker for (ticker, _, _), _ in broker.taken}


def test_a_restart_knows_what_is_still_taken_and_of_a_level_that_went_and_came_back_that_it_is_new(
    make: Make,
) -> None:
    alone = {"KALSHI_BUS_LIMIT_POSITIONS_PER_EVENT": "1"}
    stand = make(env=alone)
    held = bought(stand)
    assert taken(stand) == held
    stand.close()

    again = make(env=alone)
    assert taken(again) == held
    again.commit(basket(bid_e4=3_900))
    again.turns(2)
    assert taken(again) == set()
    again.commit(basket())
    again.turns(2)
    again.close()

    assert taken(make(env=alone)) == set()


def test_a_killed_trader_counts_what_it_took_since_it_last_wrote_that_down(
    make: Make, tmp_path: Path, short_dir: Path
) -> None:
    stand = make()
    stand.turns(400)  # it has written down that nothing is taken
    held = bought(stand)
    stand.journal.commit()
    shutil.copytree(tmp_path / "data", short_dir / "killed" / "data")  # as a kill leaves it
    again = Stand(short_dir / "killed")
    assert taken(again) == held
    again.close()


def test_a_refusal_leaves_the_list_with_its_candidate(make: Make) -> None:
    stand = make(env={"KALSHI_BUS_LIMIT_ORDER": "0.01"})
    for _ in range(4):
        stand.commit(basket(as_of_ms=stand.clock.now_ms()))
        stand.turns(3)
        assert list(stand.worker.engine.refusals.stand) == [basket().event.event_ticker]
    for _ in range(3):
        stand.commit(later(basket(bid_e4=2_000), stand.clock.now_ms()))
        stand.turns(3)
    assert not stand.worker.engine.refusals.stand
