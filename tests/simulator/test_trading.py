"""Trading at the real process: an independent client, and order faults on the wire."""

import json
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pykalshi import KalshiClient
from pykalshi.enums import BookSide, OrderStatus, TimeInForce
from pykalshi.exceptions import InsufficientFundsError, KalshiAPIError, OrderRejectedError

from tests.simulator.killed import kill_and_look
from tests.simulator.served import Venue
from tests.support import Runner, eventually

pytestmark = pytest.mark.e2e

ORDERS = "/portfolio/events/orders"


@pytest.fixture(scope="module")
def venue() -> Iterator[Venue]:
    """A simulator for all tests that leave it as it was, prices standing still."""
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    runner = Runner(folder)
    found = Venue(runner, "--tier", "none")
    found.faults(settings={"pace": 0, "rivals": False})
    requests.post(found.root + "/sim/switches", json={"read_lag_ms": 0}, timeout=10)
    yield found
    runner.close()
    shutil.rmtree(folder, ignore_errors=True)


def a_market(venue: Venue, shard: int) -> dict[str, Any]:
    """Return a cent market of a shard that is quoted on both sides and does not close soon."""
    found = [
        market
        for market in venue.get("/markets?limit=1000&status=open")["markets"]
        if market["exchange_index"] == shard
        and market["price_level_structure"] == "linear_cent"
        and 0.1 < float(market["yes_bid_dollars"]) < float(market["yes_ask_dollars"]) < 0.9
    ]
    return max(found, key=lambda market: str(market["close_time"]))


def order(market: dict[str, Any], number: str, **members: Any) -> dict[str, Any]:
    return {
        "ticker": market["ticker"],
        "client_order_id": number,
        "side": "bid",
        "count": "1.00",
        "price": "0.0100",
        "time_in_force": "good_till_canceled",
        "self_trade_prevention_type": "taker_at_cross",
        **members,
    }


# An independent client -----------------------------------------------------------------------------


def test_pykalshi_trades_unchanged(venue: Venue) -> None:
    market = a_market(venue, shard=0)
    ticker, ask = market["ticker"], market["yes_ask_dollars"]
    with KalshiClient(venue.key_id, str(venue.key_path), api_base=venue.base) as client:
        portfolio = client.portfolio
        before = portfolio.get_balance().balance
        resting = portfolio.place_order(ticker, book_side=BookSide.BID, price_dollars="0.01", count_fp="10")
        assert resting.status is OrderStatus.RESTING
        resting.amend(price_dollars="0.02")
        resting.decrease("4.00")
        assert [o.order_id for o in portfolio.get_orders(status=OrderStatus.RESTING)] == [resting.order_id]
        resting.refresh()
        assert (resting.yes_price_dollars, resting.remaining_count_fp) == ("0.0200", "6.00")
        assert portfolio.get_queue_position(resting.order_id).order_id == resting.order_id
        assert resting.cancel().status is OrderStatus.CANCELED

        taken = portfolio.place_order(
            ticker,
            book_side=BookSide.BID,
            price_dollars="0.99",
            count_fp="2.00",
            time_in_force=TimeInForce.IOC,
        )
        assert taken.status is OrderStatus.EXECUTED
        (fill,) = portfolio.get_fills(order_id=taken.order_id)
        assert (fill.count_fp, fill.yes_price_dollars, fill.book_side) == ("2.00", ask, BookSide.BID)
        (position,) = portfolio.get_positions(ticker=ticker)
        assert position.position_fp == "2.00"
        spent = before - portfolio.get_balance().balance
        assert 0 <= spent - 200 * float(ask) <= 6  # cents: the fee, and the cut of the rest

        wishes = [
            {
                "ticker": ticker,
                "action": "buy",
                "side": side,
                "count_fp": "1.00",
                f"{side}_price_dollars": "0.02",
            }
            for side in ("yes", "no")
        ]
        placed = portfolio.batch_place_orders(wishes)
        assert [o.status for o in placed] == [OrderStatus.RESTING] * 2
        gone = portfolio.batch_cancel_orders([o.order_id for o in placed])
        assert [o.order_id for o in gone] == [o.order_id for o in placed]  # their status is its guess
        assert portfolio.get_orders(status=OrderStatus.RESTING) == []
        group = portfolio.create_order_group("5.00")
        assert portfolio.get_order_groups()[0].id == group.id
        assert client.api_keys.list()[0].id == venue.key_id
        assert client.api_keys.get_limits().usage_tier == "prestige"


def test_pykalshi_reads_refusals(venue: Venue) -> None:
    market = a_market(venue, shard=0)
    with KalshiClient(venue.key_id, str(venue.key_path), api_base=venue.base) as client:

        def place(count: str = "1.00", price: str = "0.01", own: str | None = None) -> None:
            client.portfolio.place_order(
                market["ticker"], book_side="bid", price_dollars=price, count_fp=count, client_order_id=own
            )

        with pytest.raises(InsufficientFundsError):
            place(count="9000000", price="0.10")
        with pytest.raises(KalshiAPIError, match=r"invalid.price"):
            place(price="0.015")
        place(own="pykalshi-once")
        with pytest.raises((OrderRejectedError, KalshiAPIError), match=r"order.already.exists"):
            place(own="pykalshi-once")
        for resting in client.portfolio.get_orders(status=OrderStatus.RESTING):
            resting.cancel()


def test_pykalshi_cannot_cancel_on_other_shards_since_it_never_names_one(venue: Venue) -> None:
    market = a_market(venue, shard=3)
    with KalshiClient(venue.key_id, str(venue.key_path), api_base=venue.base) as client:
        resting = client.portfolio.place_order(
            market["ticker"], book_side="bid", price_dollars="0.01", count_fp="1.00"
        )
        with pytest.raises(KalshiAPIError) as refusal:
            resting.cancel()
        assert refusal.value.status_code == 404
        resting.amend(price_dollars="0.02")  # routed by its ticker
    assert venue.private("DELETE", f"{ORDERS}/{resting.order_id}?exchange_index=3").status_code == 200


def test_pykalshi_places_twice_what_a_5xx_hid_unless_it_is_given_an_id(venue: Venue) -> None:
    wish: dict[str, Any] = {"book_side": "bid", "price_dollars": "0.01", "count_fp": "1.00"}
    ticker = a_market(venue, shard=0)["ticker"]
    with KalshiClient(venue.key_id, str(venue.key_path), api_base=venue.base) as client:
        hurt(venue, "error_with_effect", match={"operation": "create_order"})
        client.portfolio.place_order(ticker, **wish)
        assert len(mine(venue, "")) == 2
        client.portfolio.batch_cancel_orders([resting["order_id"] for resting in mine(venue, "")])


def test_pykalshi_sees_its_orders_fills_and_positions_on_the_socket(venue: Venue) -> None:
    market = a_market(venue, shard=0)
    heard: list[Any] = []
    with KalshiClient(venue.key_id, str(venue.key_path), api_base=venue.base) as client:
        feed = client.feed()
        feed._ws_url = venue.socket_url  # its only choices are Kalshi's own hosts
        for channel in ("fill", "user_orders", "market_positions"):
            feed.on(channel, heard.append)
            feed.subscribe(channel)
        feed.start()
        try:
            wish: dict[str, Any] = {"book_side": "ask", "price_dollars": "0.01", "count_fp": "1.00"}

            def place() -> str:
                made = client.portfolio.place_order(market["ticker"], time_in_force=TimeInForce.IOC, **wish)
                return made.order_id

            own = [place()]
            while not heard:  # until it has subscribed
                own.append(place())
            eventually(lambda: len(heard) >= 3, what="a fill, a position and an order")
        finally:
            feed.stop()
    fill, position, told = heard[:3]
    assert (type(fill).__name__, fill.book_side) == ("FillMessage", "ask")
    assert (type(position).__name__, position.position_fp) == ("PositionMessage", fill.post_position_fp)
    assert (type(told).__name__, told.status) == ("UserOrderMessage", "executed")
    assert fill.order_id == told.order_id
    assert told.order_id in own


def test_a_body_of_more_than_a_megabyte_is_too_large(venue: Venue) -> None:
    answer = venue.private("POST", ORDERS, order(a_market(venue, 0), "x" * (1 << 20)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert venue.private("GET", "/portfolio/balance").status_code == 200


# Order faults on the wire ----------------------------------------------------------------------------


def hurt(venue: Venue, fault: str, **members: Any) -> None:
    venue.faults(orders=[{"fault": fault, **members}])


def mine(venue: Venue, start: str) -> list[dict[str, Any]]:
    return [o for o in venue.account()["resting_orders"] if o["client_order_id"].startswith(start)]


@pytest.mark.parametrize(("fault", "orders"), [("request_lost", 0), ("reply_lost", 1)])
def test_a_connection_that_ends_says_nothing_of_the_order(venue: Venue, fault: str, orders: int) -> None:
    hurt(venue, fault)
    with pytest.raises(requests.ConnectionError):
        venue.private("POST", ORDERS, order(a_market(venue, 0), f"{fault}-1"))
    assert len(mine(venue, fault)) == orders


def test_a_reply_is_cut_by_a_reset_in_the_middle(venue: Venue) -> None:
    hurt(venue, "reply_cut")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        venue.private("POST", ORDERS, order(a_market(venue, 0), "cut-1"))
    assert len(mine(venue, "cut-")) == 1


def test_a_doubled_reply_is_there_before_the_next_request(venue: Venue) -> None:
    hurt(venue, "reply_doubled")
    host, port = venue.root.removeprefix("http://").split(":")
    body = json.dumps(order(a_market(venue, 0), "doubled-1")).encode()
    path = "/trade-api/v2" + ORDERS
    head = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in venue.headers(path, method="POST").items()]
    answers = b""
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        while answers.count(b"ts_ms") < 2:
            answers += connection.recv(65536)
    first, second = (part.split(b"\r\n\r\n")[1] for part in answers.split(b"HTTP/1.1 201 Created")[1:])
    assert first == second
    assert json.loads(first)["order_id"] == mine(venue, "doubled-")[0]["order_id"]


def test_a_client_that_has_gone_does_not_stop_what_is_late_or_a_copy(venue: Venue) -> None:
    market = a_market(venue, 0)
    hurt(venue, "request_late", ms=1_500)
    with pytest.raises(requests.Timeout):
        venue.private("POST", ORDERS, order(market, "late-1"), timeout=(10, 0.1))
    assert mine(venue, "late-") == []
    eventually(lambda: len(mine(venue, "late-")) == 1, what="the late order")
    hurt(venue, "request_copied", ms=200, match={"client_order_id": "copied-"})
    answer = venue.private(
        "POST", ORDERS, order(market, "copied-1", time_in_force="immediate_or_cancel", price="0.99")
    )
    assert answer.status_code == 201
    hurt(venue, "request_late", ms=0)  # nothing: a duration of zero is no delay
    assert venue.private("POST", ORDERS, order(market, "zero-1")).status_code == 201


def test_a_late_answer_is_late(venue: Venue) -> None:
    hurt(venue, "reply_late", ms=300)
    before = time.monotonic()
    answer = venue.private("POST", ORDERS, order(a_market(venue, 0), "slow-1"))
    assert (answer.status_code, time.monotonic() - before > 0.29) == (201, True)


# An exchange that is killed ---------------------------------------------------------------------------


def test_killed_while_orders_flow_it_knows_every_order_it_answered(tmp_path: Path) -> None:
    assert kill_and_look(tmp_path, seed=1, kills=5) > 5


def test_another_exchange_has_another_id_and_other_users(runner: Runner) -> None:
    def seen(seed: str) -> tuple[str, str]:
        venue = Venue(runner, "--markets", "100", "--seed", seed)
        requests.post(venue.root + "/sim/switches", json={"read_lag_ms": 0}, timeout=10)
        venue.private("POST", ORDERS, order(a_market(venue, 0), "x"))
        told = venue.private("GET", "/portfolio/orders").json()["orders"][0]
        found = venue.account()["exchange_id"], told["user_id"]
        venue.process.kill()
        return found

    first = seen("7")
    assert seen("7")[0] == first[0]
    other = seen("8")
    assert (other[0] != first[0], other[1] != first[1]) == (True, True)
