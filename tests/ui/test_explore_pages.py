"""Pages to find markets: what they list, in which order, and what they show for missing data."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.market_history import HistoryRefused, Mover, Movers
from bus.protocol.messages import Error, market_topic
from bus.protocol.state import Changed
from markets.records import Record, Series
from tests.ui.joined import StillReplica, joined, shown
from tests.ui.stage import DULL, HOUR_MS, MATCH, PAIR, event, fill, market, quote, series_of
from ui.desk import Desk
from ui.movers import MoversLink
from ui.pages.explore import SHOWS
from ui.watchlist import Watchlist

COMMAND = {"X-Kalshi-Bus": "command", "Origin": "http://localhost"}


class Desktop:
    """A dashboard in this process that has sorted its markets."""

    def __init__(self, folder: Path) -> None:
        self.service, self.replica = joined()
        self.service.watchlist = Watchlist(folder)
        self.client: Any = shown(self.service, self.replica, Desk())
        self.service.catalogue.update(0)

    def change(self, *records: tuple[str, str, Record]) -> None:
        """Put records, given as (topic, kind, record), and scan."""
        changed = fill(self.replica.state, [(topic, kind, [record]) for topic, kind, record in records])
        seq = self.replica.state.seq
        self.service.inbox.listen([Changed(seq, 0, [(kind, (key,)) for kind, key in changed])])
        self.service._pass(True)
        self.service.catalogue.update(10**18)
        self.service._moment = None

    def text(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text[:2_000]
        text: str = answer.text
        return text

    def rows(self, path: str) -> list[str]:
        """The keys of the rows of a page's list."""
        return re.findall(r'<tr data-key="([^"]+)"', self.text(path))

    def file(self, path: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.text(path))))


@pytest.fixture
def desktop(tmp_path: Path) -> Desktop:
    return Desktop(tmp_path)


def a_market(ticker: str, label: str, **changes: Any) -> tuple[str, str, Record]:
    event_ticker, _, name = ticker.rpartition("-")
    now_ms = changes.pop("now_ms")
    return (market_topic(series_of(ticker)), "market", market(event_ticker, name, label, now_ms, **changes))


def a_quote(
    replica: StillReplica, ticker: str, bid: int, ask: int, **changes: Any
) -> tuple[str, str, Record]:
    now_ms = replica.now_ms()
    return market_topic(series_of(ticker)), "quote", quote(ticker, (bid, 500), (ask, 500), now_ms, **changes)


def moved(desktop: Desktop, window_s: int, *movers: tuple[str, int], begin_ms: int | None = None) -> None:
    now_ms = desktop.replica.now_ms()
    since_ms = now_ms - 1_000 * window_s if begin_ms is None else begin_ms
    found = Movers(
        window_s, since_ms, since_ms, now_ms, len(movers), [Mover(ticker, then, 0) for ticker, then in movers]
    )
    desktop.service.movers = MoversLink(lambda _window_s: found, lambda: 0)
    desktop.service.movers.update()


def test_categories_series_and_events_are_listed_with_counts(desktop: Desktop) -> None:
    page = desktop.text("/explore")
    assert re.search(r'category=Sports"[^>]*><bdi>Sports</bdi> <span class="share">45<', page)
    assert "Climate and Weather" in page

    page = desktop.text("/explore?category=Sports")
    assert re.search(r'series=KXMLSGAME"[^>]*><bdi>KXMLSGAME</bdi> <span class="share">3<', page)
    assert set(desktop.rows("/explore?category=Sports&series=KXNBAGAME")) == {f"{PAIR}-NOP", f"{PAIR}-CHI"}
    assert "New Orleans vs Chicago" in desktop.text("/explore?category=Sports&series=KXNBAGAME")


def test_each_list_has_its_own_order_and_headings_change_it(desktop: Desktop) -> None:
    now_ms = desktop.replica.now_ms()
    desktop.change(
        a_quote(desktop.replica, f"{MATCH}-VAN", 4_000, 4_200, volume_24h_e2=10**9),
        a_quote(desktop.replica, f"{MATCH}-HOU", 1_000, 9_000),
        a_market(f"{MATCH}-TIE", "Tie", now_ms=now_ms, close_ms=now_ms + 60_000),
        a_market(f"{PAIR}-CHI", "Chicago", now_ms=now_ms, created_ms=now_ms - 5),
    )

    assert desktop.rows("/explore")[0] == f"{MATCH}-VAN"
    assert desktop.rows("/explore?show=spreads")[0] == f"{MATCH}-HOU"
    assert desktop.rows("/explore?show=closing")[0] == f"{MATCH}-TIE"
    assert desktop.rows("/explore?show=new")[0] == f"{PAIR}-CHI"
    bids = [float(row["yes_bid_dollars"]) for row in desktop.file("/explore.csv?sort=-bid")]
    assert bids == sorted(bids, reverse=True)
    assert len(bids) == 46
    assert len(desktop.rows("/explore?limit=7")) == 7
    assert 'aria-sort="descending"' in desktop.text("/explore")


def test_filters_narrow_the_page_and_its_file_alike(desktop: Desktop) -> None:
    desktop.change(a_quote(desktop.replica, f"{MATCH}-VAN", 4_000, 4_200, volume_24h_e2=10**9))

    assert desktop.rows("/explore?min_volume=9999999") == [f"{MATCH}-VAN"]
    assert set(desktop.rows("/explore?max_spread=2")) == {
        f"{MATCH}-{name}" for name in ("VAN", "HOU", "TIE")
    } | {f"{PAIR}-{name}" for name in ("NOP", "CHI")}
    assert desktop.rows("/explore?max_hours=1") == []
    assert "No market matches these filters" in desktop.text("/explore?max_hours=1")
    assert set(desktop.rows("/explore?q=chicago")) == {f"{PAIR}-CHI", f"{PAIR}-NOP"}
    assert "read as “<b>chicago</b>”" in desktop.text("/explore?q=chicgo")
    assert [row["ticker"] for row in desktop.file("/explore.csv?q=chicago&sort=bid")] == desktop.rows(
        "/explore?q=chicago&sort=bid"
    )


@pytest.mark.parametrize(
    "query",
    [
        "show=best", "sort=charm", "sort=-move", "limit=0", "limit=201", "max_spread=101", "max_spread=x",
        "max_hours=-1", "max_hours=1e9", "min_volume=x", "colour=red", "q=a&q=b", "category=" + "x" * 201,
        "q=" + "%F0%9F%98%80" * 201, "limit=%D9%A1",
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_by_name(desktop: Desktop, query: str) -> None:
    assert f"{query.partition('=')[0]}:" in desktop.text(f"/explore?{query}", 400)


def test_movers_show_since_when_and_move_to_the_page_s_own_prices(desktop: Desktop) -> None:
    now_ms = desktop.replica.now_ms()
    desktop.change(a_quote(desktop.replica, f"{MATCH}-HOU", 5_000, 5_200, last_price_e4=5_100))
    moved(
        desktop, 3_600, (f"{PAIR}-NOP", 4_290), (f"{MATCH}-HOU", 2_200), ("KXGONE-1", 1), (f"{MATCH}-TIE", 0)
    )

    page = desktop.text("/explore?show=movers-1h")
    assert "+29¢" in page
    assert "from 22¢" in page
    assert "the history begins" not in page
    assert desktop.rows("/explore?show=movers-1h")[0] == f"{MATCH}-TIE"
    assert desktop.rows("/explore?show=movers-1h&sort=move")[-1] == f"{MATCH}-TIE"
    assert desktop.file("/explore.csv?show=movers-1h&category=Sports")[0]["then_dollars"] == "0.0000"

    moved(desktop, 86_400, (f"{MATCH}-HOU", 2_000), begin_ms=now_ms - 3 * HOUR_MS)
    page = desktop.text("/explore?show=movers-24h")
    assert "the history begins at" in page
    assert "less than 1 d" in page


def test_a_list_of_movers_says_why_it_is_empty(desktop: Desktop) -> None:
    def refuse(_window_s: int) -> Movers:
        raise HistoryRefused(Error("not_ready", "the movers are being worked out"))

    link = desktop.service.movers = MoversLink(refuse, lambda: 0)
    link.update()
    assert "The movers are being worked out" in desktop.text("/explore?show=movers-1h")
    moved(desktop, 3_600)
    assert "<h2>No markets</h2>" in desktop.text("/explore?show=movers-1h")


def test_the_page_of_a_series_shows_its_events_markets_fee_and_sources(desktop: Desktop) -> None:
    raw = msgspec.json.encode(
        {
            "settlement_sources": [
                {"name": "MLS", "url": "https://mls.example/x"},
                {"url": "javascript:1"},
                {},
            ],
            "contract_terms_url": "https://x.example/t.pdf",
            "contract_url": 7,
        }
    )
    desktop.change(
        ("ref.", "series", Series("KXNBAGAME", "NBA games", "Sports", "daily", "quadratic", 20_000, raw))
    )

    page = desktop.text("/s/KXNBAGAME")
    assert "NBA games" in page
    assert "taker 0.14, maker 0 × price × (1 − price)" in page  # noqa: RUF001 - as written
    assert 'href="https://mls.example/x"' in page
    assert "javascript" not in page
    assert "Contract terms" in page
    assert f'href="/e/{PAIR}"' in page
    assert f'href="/m/{PAIR}-CHI"' in page
    assert [row["markets"] for row in desktop.file("/s/KXNBAGAME/events.csv")] == ["2"]
    desktop.text("/s/KXNOSUCH", 404)
    assert desktop.client.get("/s/kxnbagame").location == "/s/KXNBAGAME"
    desktop.text("/s/KXNOSUCH/events.csv", 404)


def test_a_series_known_only_from_its_events_has_a_page(desktop: Desktop) -> None:
    odd = "KX/ODD?#%&+"
    now_ms, topic = desktop.replica.now_ms(), market_topic("KXODD")
    desktop.change(
        ("ref.", "event", event(f"{odd}-1", "Odd", series_ticker=odd, category="")),
        (topic, "market", market(f"{odd}-1", "A", "A", now_ms, series_ticker=odd)),
        (topic, "quote", quote(f"{odd}-1-A", (100, 100), (300, 100), now_ms)),
    )

    page = desktop.text("/explore?category=(none)")
    assert desktop.rows("/explore?category=(none)") == [f"{odd.replace('&', '&amp;')}-1-A"]
    address = re.search(r'href="(/s/[^"]+)"', desktop.text("/explore?series=KX/ODD%3F%23%25%26%2B"))
    assert address is not None
    page = desktop.text(address[1].replace("&amp;", "&"))
    assert "It is not in the exchange's list of series" in page
    assert "unknown, because the series is not in the data" in page
    assert "(none)" in page


def test_breadcrumbs_are_links_from_the_category_down(desktop: Desktop) -> None:
    page = desktop.text(f"/m/{MATCH}-VAN")
    crumbs = re.search(r'<nav class="crumbs".*?</nav>', page, re.DOTALL)
    assert crumbs is not None
    assert re.findall(r'href="([^"]+)"', crumbs[0]) == [
        "/explore", "/explore?category=Sports", "/s/KXMLSGAME", f"/e/{MATCH}",
    ]  # fmt: skip
    assert '/explore?category=Climate+and+Weather"' in desktop.text(f"/e/{DULL}")


def test_search_shows_prices_and_forgives_a_typo(desktop: Desktop) -> None:
    found = desktop.client.get("/api/search?q=CHICGAO").json
    assert found["read_as"] == {"chicgao": ["chicago"]}
    first = next(one for one in found["results"] if one["ticker"] == f"{PAIR}-CHI")
    assert (first["yes_bid_dollars"], first["yes_ask_dollars"], first["change_dollars"]) == (
        "0.4900", "0.5000", "0.1900",
    )  # fmt: skip
    assert (first["display"]["yes_bid"], first["display"]["change"], first["url"]) == (
        "49¢", "+19¢", f"/m/{PAIR}-CHI",
    )  # fmt: skip
    page = desktop.text("/search?q=chicgao")
    assert "read as “<b>chicago</b>”" in page
    assert "49¢" in page
    series = desktop.client.get("/api/search?q=kxnbagame&limit=1").json["results"][0]
    assert (series["kind"], series["events"], series["markets"], series["url"]) == (
        "series",
        1,
        2,
        "/s/KXNBAGAME",
    )
    assert desktop.file("/search.csv?q=new+orleans")[0]["kind"] == "event"
    assert desktop.file("/search.csv?q=zzzz") == []


def test_starred_markets_are_on_every_page_and_survive_a_restart(desktop: Desktop, tmp_path: Path) -> None:
    def star(ticker: str, starred: bool = True, status: int = 200) -> None:
        answer = desktop.client.post(
            "/api/watchlist", json={"ticker": ticker, "starred": starred}, headers=COMMAND
        )
        assert answer.status_code == status, answer.text

    assert "Your watchlist is empty" in desktop.text("/explore?show=watchlist")
    star(f"{PAIR}-CHI")
    star(f"{MATCH}-TIE")
    star(f"{PAIR}-CHI")
    assert desktop.rows("/explore?show=watchlist") == [f"{PAIR}-CHI", f"{MATCH}-TIE"]
    assert f'href="/m/{PAIR}-CHI"' in desktop.text("/system").partition("<main")[0]
    assert desktop.rows("/explore?show=watchlist&q=tie") == [f"{MATCH}-TIE"]
    assert Watchlist(tmp_path).tickers == (f"{PAIR}-CHI", f"{MATCH}-TIE")
    star("KXNOSUCH-1", status=404)
    star("", status=400)
    assert desktop.client.post("/api/watchlist", json={"ticker": "x", "starred": True}).status_code == 403
    star(f"{PAIR}-CHI", False)
    desktop.service.watchlist.star("KXGONE-1", starred=True)
    assert "KXGONE-1" in desktop.text("/explore?show=watchlist")
    assert desktop.rows("/explore?show=watchlist") == [f"{MATCH}-TIE"]


def test_names_of_ten_thousand_characters_are_cut_on_every_page(desktop: Desktop) -> None:
    long = "<b>" + "x" * 10_000
    desktop.change(
        ("ref.", "event", event("KXLONG-1", long, category=long, sub_title=long)),
        a_market("KXLONG-1-A", long, now_ms=desktop.replica.now_ms(), title=long),
        a_quote(desktop.replica, "KXLONG-1-A", 100, 300, volume_24h_e2=10**9),
    )

    for path in ("/explore", "/s/KXLONG", "/search?q=kxlong", "/explore?show=spreads"):
        page = desktop.text(path)
        assert "x" * 400 not in page, path
        assert "<b>x" not in page, path
    category = "<b>" + "x" * 97
    assert desktop.rows(f"/explore?category={category}") == ["KXLONG-1-A"]


def test_pages_say_so_until_the_markets_are_sorted(tmp_path: Path) -> None:
    service, replica = joined()
    service.watchlist = Watchlist(tmp_path)
    client = shown(service, replica, Desk())

    for path in ("/explore", "/s/KXMLSGAME", "/search?q=will"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "for the first time" in answer.text, path
    assert client.get("/api/search?q=will").json["ready"] is False
    assert not service.catalogue.latest.ready


@pytest.mark.parametrize("show", sorted(SHOWS))
def test_every_list_has_an_address_that_works(desktop: Desktop, show: str) -> None:
    assert "<h1>Explore</h1>" in desktop.text(f"/explore?show={show}&category=Sports&limit=5")
