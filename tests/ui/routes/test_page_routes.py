"""Pages by address: any case, missing tickers, display settings."""

from typing import Any

import pytest

from bus.market_history import HistoryQuote, MarketHistory
from tests.ui.joined import joined, shown
from tests.ui.settled import SETTLED
from tests.ui.stage import MATCH, PAIR
from ui.app import make_app
from ui.desk import Desk
from ui.pages.preferences import COOKIE

GONE = SETTLED.ticker


@pytest.fixture
def client() -> Any:
    service, replica = joined()
    shown(service, replica, Desk(settlements=(SETTLED,)))

    def past(ticker: str, _start_ms: int) -> MarketHistory | None:
        if ticker != GONE:
            return None
        last = HistoryQuote(replica.now_ms(), 9_800, 10_000, 100, 0, 9_900, 50_000, 100, "determined")
        return MarketHistory(ticker, [last], [], last.time_ms, None, False, False, [], [])

    return make_app(service, print, past).test_client()


@pytest.mark.parametrize(
    ("asked", "to"),
    [
        (f"/m/{MATCH}-VAN".lower(), f"/m/{MATCH}-VAN"),
        (f"/m/{MATCH}-van?chart=1h&_external=1&ticker=x", f"/m/{MATCH}-VAN?chart=1h&_external=1&ticker=x"),
        (f"/e/{PAIR}".lower(), f"/e/{PAIR}"),
        (f"/m/{PAIR}", f"/e/{PAIR}"),
        (f"/e/{PAIR}-NOP", f"/m/{PAIR}-NOP"),
        (f"/m/%20{PAIR}-nop%20", f"/m/{PAIR}-NOP"),
    ],
)
def test_a_ticker_in_any_case_and_under_either_kind_leads_to_its_page(
    client: Any, asked: str, to: str
) -> None:
    answer = client.get(asked)
    assert (answer.status_code, answer.headers["Location"]) == (302, to)
    assert client.get(to).status_code == 200


def test_the_api_takes_a_ticker_in_any_case(client: Any) -> None:
    assert client.get(f"/api/market/{MATCH}-van").json["ticker"] == f"{MATCH}-VAN"
    assert client.get("/api/market/NOPE").status_code == 404


def test_the_page_of_a_gone_market_says_what_became_of_it(client: Any) -> None:
    answer = client.get(f"/m/{GONE.lower()}")
    assert answer.status_code == 404
    for words in ("No longer listed", "settled <b>YES</b>", "determined", "YES bid 98¢", "traded at 99¢"):
        assert words in answer.text
    assert f"/past?ticker={GONE}&amp;at=" in answer.text
    assert f'href="/e/{MATCH}"' in answer.text  # of the same series


@pytest.mark.parametrize(
    "ticker", ["NOPE", "%00", "<script>", "A" * 5_000, "%F0%9F%8E%B2", "-", "..", "%E2%80%AE"]
)
def test_any_unknown_ticker_gets_a_page(client: Any, ticker: str) -> None:
    for kind in "me":
        answer = client.get(f"/{kind}/{ticker}")
        assert answer.status_code == 404
        assert "Not found" in answer.text
        assert "<script>alert" not in answer.text
        assert len(answer.text) < 20_000


def test_a_misspelled_address_gets_a_suggestion(client: Any) -> None:
    answer = client.get("/Tradr")
    assert answer.status_code == 404
    assert '<a href="/trader">' in answer.text


def test_pages_follow_the_cookie_and_are_shared_by_equal_settings(client: Any) -> None:
    def page(cookie: str) -> str:
        client.set_cookie(COOKIE, cookie)
        return str(client.get(f"/m/{MATCH}-VAN").text)

    plain = page("")
    assert "Times are in UTC." in plain
    assert 'data-theme="system" data-density="comfortable"' in plain
    eastern = page("zone=et&theme=dark&density=compact")
    assert "Times are in US Eastern (E" in eastern
    assert 'data-zone="America/New_York" data-theme="dark" data-density="compact"' in eastern
    assert page("zone=et&theme=dark&density=compact") == eastern
    assert page('zone=%FF;;;"theme=<b>') == plain
    assert " UTC" not in eastern.partition("<main")[2].partition("</main")[0]
