"""`trader reconcile`: the journal against itself and, where a gateway answers, against the exchange."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zmq

from bus.ask import NoAnswer
from bus.trading.gateway import ListedOrder
from tests.trader.brokers.fake_gateway import FakeGateway, FakePort, served
from tests.trader.stand import Stand
from tests.trader.world import basket
from trader import reconcile
from trader.command import command
from trader.engine.reconciliation import LAG_MS
from trader.reconcile import as_text, books_of, compare, whole


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def path(tmp_path: Path, gateway: FakeGateway) -> Iterator[Path]:
    """The journal of a trader that has bought a basket."""
    with closing(Stand(tmp_path, gateway=FakePort(gateway))) as stand:
        stand.turns(12)
        stand.commit(basket())
        stand.turns(12)
        assert len(gateway.orders) == 3
        stand.journal.commit()
        yield stand.worker.around.journal_path


def test_line_by_line_the_exchange_has_the_same(path: Path, gateway: FakeGateway) -> None:
    books, found = books_of(path), compare(path, gateway.answer)

    assert found.trouble is None
    assert [line.what.split(" in ")[0] for line in found.lines] == [
        "cash of the account",
        *["position", "fees"] * 3,
    ]
    assert whole(books, found)
    assert as_text(books, found).endswith("the exchange has the same")


@pytest.mark.parametrize("what", ["cash", "position", "fees"])
def test_each_line_that_differs_is_named(path: Path, gateway: FakeGateway, what: str) -> None:
    ticker = next(iter(gateway.positions))
    if what == "cash":
        gateway.cash_e6[0] += 1
    elif what == "position":
        gateway.positions[ticker] += 1
    else:
        gateway.fees_e6[ticker] += 1

    waited: list[float] = []
    found = compare(path, gateway.answer, waited.append)

    assert sum(waited) * 1000 >= LAG_MS
    (line,) = [line for line in found.lines if not line.equal]
    assert line.what.startswith(what)
    assert not whole(books_of(path), found)


def test_a_market_that_was_just_paid_out_is_no_difference(path: Path, gateway: FakeGateway) -> None:
    ticker = next(iter(gateway.positions))
    gateway.settle(ticker, ticker.rsplit("-", 1)[0], 10_000)

    assert whole(books_of(path), compare(path, gateway.answer))


RESTS = ListedOrder(
    order_id="o77", client_order_id="c77", ticker="T", exchange_index=0, side="yes", price_e4=1, left_e2=100,
    number=77,
)  # fmt: skip


@pytest.mark.parametrize("open_", [False, True])
def test_what_is_on_its_way_is_waited_for_and_an_order_in_the_dark_is_said(
    path: Path, gateway: FakeGateway, open_: bool
) -> None:
    if open_:
        gateway.others.append(RESTS)
    gateway.cash_e6[0] -= 5_000_000
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == (9 if open_ else 2):
            gateway.cash_e6[0] += 5_000_000
            gateway.others.clear()

    assert whole(books_of(path), compare(path, gateway.answer, wait))

    gateway.cash_e6[0] -= 5_000_000
    gateway.unknown = 1
    found = compare(path, gateway.answer, waited.append)
    assert not whole(books_of(path), found)
    assert as_text(books_of(path), found).endswith("not known yet: 1: ask again in a minute")


def test_it_is_not_compared_at_a_moment_that_is_not_quiet_or_with_another_account(
    path: Path, gateway: FakeGateway
) -> None:
    waited: list[float] = []
    gateway.in_flight = 1
    assert "never quiet" in str(compare(path, gateway.answer, waited.append).trouble)
    assert len(waited) == 5

    gateway.account = "key-9"
    assert "another exchange or account" in str(compare(path, gateway.answer, waited.append).trouble)

    def nobody(question: Mapping[str, Any]) -> Mapping[str, Any]:
        raise NoAnswer("nobody")

    assert compare(path, nobody).trouble == "no order gateway answers"

    def slow(question: Mapping[str, Any]) -> Mapping[str, Any]:
        return gateway.answer(question) if question["op"] == "gateway" else nobody(question)

    assert compare(path, slow).trouble == "the order gateway has not listed the account: ready"


def test_the_command_compares_where_a_gateway_answers(
    path: Path,
    gateway: FakeGateway,
    short_dir: Path,
    zmq_context: zmq.Context[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(path.parents[1])
    monkeypatch.setenv("KALSHI_BUS_DATA_DIR", str(path.parent))
    monkeypatch.setenv("KALSHI_BUS_RUN_DIR", str(short_dir))
    monkeypatch.setenv("KALSHI_BUS_MODE", "sim")

    assert command(["reconcile"]) == 0
    assert "not compared with the exchange: no order gateway answers" in capsys.readouterr().out
    with served(zmq_context, f"ipc://{short_dir}/orders.sock", gateway):
        assert command(["reconcile", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["exchange"]["compared"] is True
        gateway.cash_e6[0] -= 10
        monkeypatch.setattr(reconcile, "LOOK_S", 0)
        assert command(["reconcile"]) == 1
        assert "THE EXCHANGE DIFFERS" in capsys.readouterr().out
