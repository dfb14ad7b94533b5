"""Every answer of the HTTP API, without a server: `respond` is pure."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgpack
import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bus.process.supervised import Supervised
from bus.protocol.answers import Answers
from bus.protocol.join import Stats
from bus.protocol.messages import CycleEnd
from bus.protocol.writer import Writer
from markets.json.words import BASE
from markets.json.write import market_json
from markets.records import Book, Drift, Market, Remove, Status, Suspect
from snapshot_server.body import wanted_encoding
from snapshot_server.edition import Edition
from snapshot_server.history.store import Store
from snapshot_server.http import PATHS, HttpRequest, HttpResponse, Large, respond
from snapshot_server.openapi import document
from snapshot_server.ops import SnapshotOps
from snapshot_server.parameters import MARKETS, make_cursor
from snapshot_server.view import View
from tests.snapshot_server.venue import a_catalogue, a_cycle, a_writer, requoted
from tests.snapshot_server.views import (
    CATALOGUE,
    HOST,
    NOW_MS,
    STARTING,
    VIEW,
    WRITER,
    assert_same,
    decoded,
    edition_after,
    edition_of,
    get,
    plain,
    view_of,
)

SUPERVISED = msgspec.structs.replace(
    VIEW,
    processes={
        "publisher": Supervised("RUNNING", 123, 4.0, 2, 0, None),
        "trader": Supervised("BACKOFF", None, None, 1, 7, "does not stay up, 7 tries so far"),
    },
)


def header(response: HttpResponse, name: str) -> str | None:
    found = [value for key, value in response.headers if key == name]
    assert len(found) < 2, f"{name} twice"
    return found[0] if found else None


def shown(query: str = "", view: View = VIEW) -> list[str]:
    return [market["ticker"] for market in decoded(get("/markets", query, view))["markets"]["markets"]]


# --- /markets ------------------------------------------------------------------------------------


def test_markets_answers_the_whole_with_its_position_and_age() -> None:
    answer = decoded(get("/markets"))
    assert answer["generated_at"] == NOW_MS / 1000
    assert answer["age_seconds"] == 1.25
    assert answer["stale"] is False
    assert answer["complete"] is True
    assert (answer["epoch"], answer["seq"]) == (WRITER.state.epoch, WRITER.state.seq)
    inner = answer["markets"]
    assert inner["total_count"] == len(inner["markets"]) == 300
    assert inner["enriched_count"] == 5
    assert inner["cursor"] == ""
    events = {market["event_ticker"] for market in inner["markets"]}
    assert set(inner["match_times"]) == events


def test_a_market_is_the_domains_object_of_it() -> None:
    by_ticker = {market["ticker"]: market for market in decoded(get("/markets"))["markets"]["markets"]}
    state = WRITER.state
    for market in CATALOGUE.markets:
        as_of_ms = state.quote_as_of_ms(market.ticker)
        assert as_of_ms is not None
        expected = market_json(
            market, state.quotes[market.ticker], as_of_ms=as_of_ms, book=state.books.get(market.ticker)
        )
        assert by_ticker[market.ticker] == json.loads(expected)


def test_a_book_in_doubt_says_so_until_it_is_whole_again() -> None:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    ticker = next(iter(sorted(writer.state.books)))
    topic, first = writer.state.stream_of[ticker], edition_of(writer)

    def market(edition: Edition) -> dict[str, Any]:
        (found,) = decoded(get("/markets", f"tickers={ticker}", view=view_of(edition)))["markets"]["markets"]
        return dict(found)

    writer.stream(topic, "suspect", [Suspect(ticker, NOW_MS - 1_500, "gap")], 0, 0)
    second = edition_of(writer, first)
    assert market(second) == market(first) | {"suspect_since": (NOW_MS - 1_500) / 1_000}
    assert second.kalshi_market(ticker) == first.kalshi_market(ticker)
    assert plain(second) == plain(edition_of(writer))
    writer.stream(topic, "book", [writer.state.books[ticker]], 0, 0)
    assert market(edition_of(writer, second)) == market(first)


def test_a_match_starts_at_its_milestone() -> None:
    event = CATALOGUE.events[0].event_ticker
    times = decoded(get("/markets", f"event_ticker={event}"))["markets"]["match_times"]
    assert list(times) == [event]
    assert times[event]["source"] == "milestone"
    assert times[event]["start_time"] == "2026-09-21T14:13:20Z"
    assert times[event]["in_play"] is True


def test_filters_restrict_and_add_up() -> None:
    market = CATALOGUE.markets[7]
    series, event = market.series_ticker, market.event_ticker
    assert shown(f"series_ticker={series}") == sorted(
        m.ticker for m in CATALOGUE.markets if m.series_ticker == series
    )
    assert shown(f"event_ticker={event}") == sorted(
        m.ticker for m in CATALOGUE.markets if m.event_ticker == event
    )
    other = next(m.ticker for m in CATALOGUE.markets if m.event_ticker != event)
    assert shown(f"tickers={other},{market.ticker},NONE,{other}") == sorted([market.ticker, other])
    assert shown(f"tickers={other},{market.ticker}&event_ticker={event}") == [market.ticker]
    assert shown(f"series_ticker={series}&event_ticker=NONE") == []
    assert shown("status=finalized") == []


def test_status_takes_several_words() -> None:
    found = shown("status=active,closed")
    wanted = (Status.ACTIVE, Status.CLOSED)
    assert found == sorted(quote.ticker for quote in CATALOGUE.quotes if quote.status in wanted)
    assert found


@pytest.mark.parametrize("limit", [1, 7, 150, 299, 300, 301])
@pytest.mark.parametrize("status", ["", "&status=active"])
def test_pages_make_up_the_whole(limit: int, status: str) -> None:
    whole = shown(status.removeprefix("&"))
    found: list[str] = []
    cursor = ""
    while True:
        query = f"limit={limit}{status}" + (f"&cursor={cursor}" if cursor else "")
        page = decoded(get("/markets", query))["markets"]
        assert len(page["markets"]) <= limit
        assert page["total_count"] == len(whole)
        found += (market["ticker"] for market in page["markets"])
        cursor = page["cursor"]
        if not cursor:
            break
    assert found == whole


def test_paging_goes_on_after_a_market_that_has_gone() -> None:
    tickers = shown()
    cursor = make_cursor(tickers[10] + "0")
    assert shown(f"limit=3&cursor={cursor}") == tickers[11:14]
    assert shown("limit=3&cursor=") == tickers[:3]


def test_fields_cut_the_objects() -> None:
    ticker = CATALOGUE.markets[0].ticker
    query = f"tickers={ticker}&fields=yes_bid_dollars,as_of,orderbook,no_such_field"
    market = decoded(get("/markets", query))["markets"]["markets"][0]
    assert set(market) == {"ticker", "yes_bid_dollars", "as_of", "orderbook"}
    assert market["orderbook"]["yes_dollars"][0] == ["0.4000", "10.00"]
    assert all(set(m) == {"ticker"} for m in decoded(get("/markets", "fields=ticker"))["markets"]["markets"])


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("colour=red", "colour"),
        ("Tickers=A", "Tickers"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=1e3", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=1&limit=2", "limit"),
        ("status=open", "status"),
        ("status=active,", "status"),
        ("tickers=", "tickers"),
        ("tickers=A,,B", "tickers"),
        ("tickers=" + ",".join(["A"] * 1001), "tickers"),
        ("series_ticker=a%20b", "series_ticker"),
        ("event_ticker=" + "A" * 201, "event_ticker"),
        ("event_ticker=%E2%80%AE", "event_ticker"),
        ("cursor=!!", "cursor"),
        ("cursor=QQ==", "cursor"),
        ("fields=a;b", "fields"),
        ("fields=" + ",".join(["a"] * 101), "fields"),
        ("novalue", "query"),
        ("a=%FF", "query"),
        ("&".join(["a=b"] * 60), "query"),
    ],
)
def test_a_bad_parameter_is_named(query: str, named: str) -> None:
    response = get("/markets", query)
    assert response.status == 400
    error = decoded(response)["error"]
    assert error["code"] == "bad_request"
    assert error["message"].startswith(f"{named}: got ")
    assert len(error["message"]) <= 500


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=80))
def test_no_query_string_breaks_the_server(query: str) -> None:
    for path in PATHS:
        response = get(path, query)
        assert response.status in (200, 400)
        if response.status == 400:
            jsonschema.validate(decoded(response), _schema("Error"))


_VALUES = st.one_of(
    st.sampled_from(["active", "5", "yes_bid_dollars", "QQ", CATALOGUE.markets[3].ticker, "KXMLBGAME"]),
    st.text(max_size=12),
)


@given(st.lists(st.tuples(st.sampled_from([*MARKETS, "x"]), _VALUES), max_size=5))
def test_any_parameters_give_an_answer_or_a_named_error(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs)
    response = get("/markets", query)
    answer = decoded(response)
    if response.status == 200:
        inner = answer["markets"]
        assert len(inner["markets"]) <= inner["total_count"]
        assert inner["enriched_count"] <= inner["total_count"]
    else:
        assert response.status == 400
        assert answer["error"]["message"].partition(":")[0] in {*(name for name, _ in pairs), "query"}


# --- encodings, validators, HEAD -----------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "limit=1", "status=finalized", "fields=ticker"])
def test_compressed_answers_are_the_same(query: str) -> None:
    plain = get("/markets", query)
    zipped = get("/markets", query, accept_encoding="gzip, deflate")
    packed = get("/markets", query, accept_encoding="gzip, deflate, br, zstd")
    assert header(plain, "content-encoding") is None
    assert header(zipped, "content-encoding") == "gzip"
    assert header(packed, "content-encoding") == "zstd"
    assert gzip.decompress(zipped.content()) == plain.content()
    # One frame: many decoders stop behind the first.
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed.content()) == plain.content()
    assert all(header(r, "vary") == "accept-encoding" for r in (plain, zipped, packed))


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
        ("zstd;q=0.5, gzip;q=0.8", "gzip"),
        ("*", "zstd"),
        ("*;q=0", "identity"),
        ("br, deflate", "identity"),
        ("gzip;q=0.1, identity;q=0.9", "identity"),
        ("gzip;q=nonsense", "identity"),
        (",;=,", "identity"),
    ],
)
def test_the_encoding_follows_the_wishes(accepted: str | None, encoding: str) -> None:
    assert wanted_encoding(accepted) == encoding


def test_who_knows_the_etag_gets_304_until_something_changes() -> None:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    first = edition_of(writer)
    etag = header(get("/markets", view=view_of(first)), "etag")
    assert etag is not None
    assert etag.startswith('W/"')
    for known in (etag, etag.removeprefix("W/"), f'"x", {etag}', "*"):
        response = get("/markets", view=view_of(first), if_none_match=known)
        assert (response.status, response.content()) == (304, b"")
        assert header(response, "etag") == etag
    assert get("/markets", view=view_of(first), if_none_match='"x"').status == 200
    writer.commit([], a_cycle(NOW_MS + 12_000, 300), 0, 0)
    second = edition_of(writer, first)
    assert get("/markets", view=view_of(second), if_none_match=etag).status == 200


def test_the_etag_changes_when_data_turns_stale() -> None:
    fresh = header(get("/markets", now_ms=NOW_MS + 30_000), "etag")
    response = get("/markets", now_ms=NOW_MS + 30_001, if_none_match=fresh or "")
    assert response.status == 200
    assert decoded(response)["stale"] is True


def test_head_has_the_headers_and_no_body() -> None:
    for path, query in (("/markets", ""), ("/markets", "limit=1"), ("/health", ""), ("/openapi.json", "")):
        full = get(path, query)
        head = respond(HttpRequest("HEAD", path, query, HOST), VIEW, NOW_MS + 1_250)
        assert head.status == full.status
        assert head.content() == b""
        assert {*full.headers} <= {*head.headers}
        length = header(head, "content-length")
        if isinstance(full.body, Large) and not full.body.small:
            assert length is None
        else:
            assert length == str(len(full.content()))


# --- health, ready, starting, stale --------------------------------------------------------------


def test_health_tells_position_digest_and_sources() -> None:
    response = get("/health")
    assert response.status == 200
    health = decoded(response)
    assert health["status"] == "ok"
    assert health["age_seconds"] == 1.25
    assert (health["epoch"], health["seq"]) == (WRITER.state.epoch, WRITER.state.seq)
    assert health["digest"] == f"{WRITER.state.digest():016x}"
    assert health["market_count"] == 300
    assert health["publisher"]["sweep"] == "ok"
    assert health["exchange"]["trading_active"] is True
    assert health["feed"] == "live"


def test_age_grows_until_it_is_stale_and_the_data_still_comes() -> None:
    for age_ms, status, ready in ((30_000, "ok", 200), (30_001, "stale", 503), (86_400_000, "stale", 503)):
        now_ms = NOW_MS + age_ms
        health = get("/health", now_ms=now_ms)
        assert health.status == 200
        assert decoded(health)["status"] == status
        assert decoded(health)["age_seconds"] == age_ms / 1000
        assert get("/ready", now_ms=now_ms).status == ready
        assert decoded(get("/markets", now_ms=now_ms))["markets"]["total_count"] == 300


def test_a_clock_set_back_gives_no_negative_age() -> None:
    assert decoded(get("/health", now_ms=NOW_MS - 5_000))["age_seconds"] == 0


def test_before_the_first_snapshot_everything_says_starting() -> None:
    health = get("/health", view=STARTING)
    assert (health.status, decoded(health)["status"]) == (503, "starting")
    ready = get("/ready", view=STARTING)
    assert (ready.status, decoded(ready)["status"]) == (503, "starting")
    markets = get("/markets", view=STARTING)
    assert (markets.status, decoded(markets)["error"]["code"]) == (503, "not_ready")
    assert header(markets, "retry-after") == "1"
    assert get("/markets", "limit=0", view=STARTING).status == 400
    assert get("/metrics", view=STARTING).status == 200


def test_a_state_that_never_saw_a_complete_sweep_is_stale_and_of_unknown_age() -> None:
    writer = Writer(5)
    partial = msgspec.structs.replace(a_cycle(NOW_MS, 300), complete=False, complete_ms=None)
    writer.commit(CATALOGUE.changes(), partial, 0, 0)
    view = view_of(edition_of(writer))
    answer = decoded(get("/markets", view=view))
    assert (answer["generated_at"], answer["age_seconds"]) == (None, None)
    assert (answer["stale"], answer["complete"]) == (True, False)
    assert decoded(get("/health", view=view))["status"] == "stale"
    assert get("/ready", view=view).status == 503


def test_what_is_wrong_with_the_feed_is_said() -> None:
    edition = VIEW.edition
    assert decoded(get("/health", view=view_of(edition, lost=True)))["feed"] == "lost"
    degraded = view_of(edition, phase="repairing", degraded=("md.KXNBA.",), stats=Stats(gaps=3, resyncs=2))
    health = decoded(get("/health", view=degraded))
    assert (health["feed"], health["degraded"]) == ("repairing", ["md.KXNBA."])
    assert (health["gaps"], health["resyncs"]) == (3, 2)


# --- the rest ------------------------------------------------------------------------------------


def test_unknown_paths_and_methods_are_refused_in_json() -> None:
    missing = get("/market")
    assert (missing.status, decoded(missing)["error"]["code"]) == (404, "not_found")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "\x00"):
        refused = respond(HttpRequest(method, "/markets", "", HOST), VIEW, NOW_MS)
        assert (refused.status, decoded(refused)["error"]["code"]) == (405, "method_not_allowed")
        assert header(refused, "allow") == "GET, HEAD"


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1.nip.io", "localhost.evil.example", "127.0.0.1@evil", "[::2]", "10.0.0.1"],
)
def test_a_foreign_host_is_refused(host: str) -> None:
    response = respond(HttpRequest("GET", "/health", "", {"host": host}), VIEW, NOW_MS)
    assert (response.status, decoded(response)["error"]["code"]) == (400, "bad_host")
    assert respond(HttpRequest("GET", "/health"), VIEW, NOW_MS).status == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:5002", "127.0.0.1:80", "127.1.2.3", "[::1]:5002"])
def test_names_of_this_machine_are_served(host: str) -> None:
    assert respond(HttpRequest("GET", "/health", "", {"host": host}), VIEW, NOW_MS).status == 200


def test_http_1_0_may_do_without_a_host() -> None:
    for headers in ({"host": ""}, {}):
        assert respond(HttpRequest("GET", "/health", "", headers, "1.0"), VIEW, NOW_MS).status == 200
        assert respond(HttpRequest("GET", "/health", "", headers, "1.1"), VIEW, NOW_MS).status == 400


def test_every_answer_has_the_security_headers() -> None:
    for response in (get("/markets"), get("/health"), get("/nope"), get("/markets", "x=1"), get("/metrics")):
        assert header(response, "x-content-type-options") == "nosniff"
        assert "default-src 'none'" in (header(response, "content-security-policy") or "")
        assert header(response, "cache-control") in ("no-store", "no-cache")
        assert (header(response, "cache-control") == "no-cache") == (
            response.route == "/markets" and response.status == 200
        )


def test_metrics_are_what_prometheus_reads() -> None:
    view = msgspec.structs.replace(VIEW, requests={("/health", 200): 7})
    families = {
        family.name: family
        for family in text_string_to_metric_families(get("/metrics", view=view).content().decode())
    }
    assert families["kalshi_bus_age_seconds"].samples[0].value == 1.25
    assert families["kalshi_bus_market_count"].samples[0].value == 300
    answers = families["kalshi_bus_http_answers"].samples[0]
    assert (answers.labels, answers.value) == ({"route": "/health", "status": "200"}, 7)


def test_what_the_exchange_sends_otherwise_is_in_health_and_metrics_and_stales_nothing() -> None:
    rows = [Drift("GET /events", f"markets.m{n}", "unknown", 2, n, "1") for n in range(102)]
    rows.append(Drift("ws ticker", "msg.ts", "type", 5, 9_500, '"soon"'))
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    writer.stream("ref.", "drift", rows, 1, NOW_MS * 1_000_000)
    view = view_of(edition_of(writer))
    health = decoded(get("/health", view=view))
    assert (health["status"], len(health["drift"]), health["drift_more"]) == ("ok", 100, 3)
    row = {"route": "ws ticker", "member": "msg.ts", "what": "type", "count": 5, "first_seen": 9.5}
    assert health["drift"][0] == row | {"example": '"soon"'}
    families = {
        family.name: {tuple(sorted(sample.labels.items())): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(get("/metrics", view=view).content().decode())
    }
    assert families["kalshi_bus_drift"] == {
        (("route", "GET /events"), ("what", "unknown")): 204,
        (("route", "ws ticker"), ("what", "type")): 5,
    }


def test_what_supervisord_says_is_told() -> None:
    response = get("/health", view=SUPERVISED)
    looping = decoded(response)["processes"]["trader"]
    assert (looping["state"], looping["tries"], looping["pid"]) == ("BACKOFF", 7, None)
    assert decoded(get("/health"))["processes"] is None
    families = {
        family.name: {sample.labels.get("process"): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(get("/metrics", view=SUPERVISED).content().decode())
    }
    assert families["kalshi_bus_process_up"] == {"publisher": 1, "trader": 0}
    assert families["kalshi_bus_process_restarts"] == {"publisher": 2, "trader": 1}


def _schema(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}


def test_openapi_tells_the_truth() -> None:
    paths = document()["paths"]
    assert tuple(path for path in paths if not path.startswith(BASE)) == PATHS
    parameters = {p["name"]: p["schema"] for p in paths["/markets"]["get"]["parameters"]}
    assert parameters == {name: parameter.schema for name, parameter in MARKETS.items()}
    assert decoded(get("/openapi.json")) == json.loads(json.dumps(document()))
    for view in (VIEW, STARTING, SUPERVISED):
        for path in PATHS[:3]:
            response = get(path, view=view)
            declared = paths[path]["get"]["responses"][str(response.status)]["content"]["application/json"]
            jsonschema.validate(
                decoded(response), declared["schema"] | {"components": document()["components"]}
            )
    jsonschema.validate(decoded(get("/markets", "fields=title")), _schema("Markets"))


@pytest.mark.parametrize("name", list(MARKETS))
def test_openapis_patterns_accept_what_the_server_accepts(name: str) -> None:
    good = {
        "series_ticker": "KXNBA",
        "event_ticker": "KXNBA-27",
        "tickers": "A,B",
        "status": "active,closed",
        "limit": "10",
        "cursor": make_cursor("KXNBA-27-A"),
        "fields": "title,as_of",
    }[name]
    assert get("/markets", f"{name}={good}").status == 200
    schema = MARKETS[name].schema
    jsonschema.validate(int(good) if schema["type"] == "integer" else good, schema)


# --- editions ------------------------------------------------------------------------------------


def test_an_edition_made_from_the_last_one_equals_one_made_afresh() -> None:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    edition = edition_after(writer, edition_of(writer))
    some = CATALOGUE.quotes[::7]
    series = {market.ticker: market.series_ticker for market in CATALOGUE.markets}
    now_ms = NOW_MS

    def step(topic: str, kind: str, records: list[Any]) -> None:
        writer.stream(topic, kind, records, 0, 0)

    for number in range(1, 6):
        now_ms += 6_000
        for quote in requoted(some[number::3], number * 100, now_ms):
            step(f"md.{series[quote.ticker]}.", "quote", [quote])
        gone = CATALOGUE.markets[number * 11]
        step(f"md.{gone.series_ticker}.", "remove", [Remove("market", gone.ticker)])
        kept = CATALOGUE.markets[number * 13 + 1]
        step(f"md.{kept.series_ticker}.", "book", [Book(kept.ticker, now_ms, ((100 * number, 100),), ())])
        renamed: Market = msgspec.structs.replace(kept, raw=kept.raw[:-1] + b',"extra":%d}' % number)
        step(f"md.{kept.series_ticker}.", "market", [renamed])
        event = CATALOGUE.events[number]
        step("ref.", "event", [msgspec.structs.replace(event, title=f"title {number}")])
        milestone = msgspec.structs.replace(
            CATALOGUE.milestones[0], start_ms=now_ms, related_event_tickers=(event.event_ticker,)
        )
        step("ref.", "milestone", [milestone])
        if number == 3:
            unconfirmed = (some[0].ticker,)
            writer.commit([], a_cycle(now_ms, 290, unconfirmed), 0, 0)
        edition = edition_after(writer, edition, now_ms)
        assert_same(edition, edition_of(writer, None, now_ms))
    tickers = [market.ticker for market in CATALOGUE.markets]
    assert CATALOGUE.markets[11].ticker not in edition.moving
    assert len(edition.tickers) == len(tickers) - 5


def test_an_event_that_a_market_has_left_is_looked_at_again() -> None:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    left, other = (event.event_ticker for event in CATALOGUE.events[:2])
    moving: Market = writer.state.markets[edition_of(writer).by_event[left][0]]
    early = msgspec.structs.replace(moving, created_ms=1, close_ms=NOW_MS)
    writer.stream(f"md.{moving.series_ticker}.", "market", [early], 0, 0)
    first = edition_of(writer)
    assert (first.event_created_ms[left], first.timings[left].close_ms) == (1, NOW_MS)
    gone = msgspec.structs.replace(early, event_ticker=other)
    writer.stream(f"md.{moving.series_ticker}.", "market", [gone], 0, 0)

    assert_same(edition_of(writer, first), edition_of(writer))


def test_a_match_is_in_play_no_more_in_the_edition_that_has_its_last_market_finalized() -> None:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    first = edition_of(writer)
    event = next(
        ticker
        for ticker, timing in sorted(first.timings.items())
        if timing.in_play
        and all(writer.state.quotes[t].status is Status.ACTIVE for t in first.by_event[ticker])
    )
    for status, in_play in ((Status.INACTIVE, True), (Status.CLOSED, False), (Status.FINALIZED, False)):
        for ticker in first.by_event[event]:
            quote = msgspec.structs.replace(writer.state.quotes[ticker], status=status)
            writer.stream(writer.state.stream_of[ticker], "quote", [quote], 0, 0)
        then = edition_of(writer, first)
        assert then.timings[event].in_play is in_play
        assert then.match_times == edition_of(writer).match_times
        first = then


def test_a_planned_end_that_is_past_ends_a_match_of_which_no_market_trades() -> None:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    event = CATALOGUE.events[0].event_ticker
    edition = edition_after(writer, edition_of(writer))
    milestone = CATALOGUE.milestones[0]
    assert milestone.end_ms is not None
    times_ms = (milestone.end_ms - 1, milestone.end_ms, milestone.end_ms - 1)
    for ticker in edition.by_event[event]:
        quote = msgspec.structs.replace(writer.state.quotes[ticker], status=Status.CLOSED)
        writer.stream(writer.state.stream_of[ticker], "quote", [quote], 0, 0)
    for now_ms in times_ms:
        edition = edition_after(writer, edition, now_ms)
        assert_same(edition, edition_of(writer, None, now_ms))


def test_what_is_put_in_anew_as_a_whole_is_compared_as_a_whole() -> None:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    edition = edition_after(writer, edition_of(writer))
    topic = f"md.{CATALOGUE.markets[0].series_ticker}."
    with writer.state.lock:
        (chunk,) = writer.state.chunk(topic)
        writer.state.clear_stream(topic)
    without = edition_after(writer, edition)
    assert CATALOGUE.markets[0].ticker not in without.moving
    assert_same(without, edition_of(writer))
    with writer.state.lock:
        writer.state.put_chunk(chunk)
    assert_same(edition_after(writer, without), edition_of(writer))


def test_an_edition_that_is_let_go_of_takes_nothing_from_the_next() -> None:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    first = edition_after(writer, edition_of(writer))
    writer.stream(
        f"md.{CATALOGUE.markets[0].series_ticker}.", "quote", requoted(CATALOGUE.quotes[:1], 9, 1), 0, 0
    )
    second = edition_after(writer, first)
    pauses: list[None] = []
    first.release(lambda: pauses.append(None))
    assert not first.moving
    assert not first.state.markets
    assert_same(second, edition_of(writer))


def test_an_edition_of_another_epoch_shows_nothing_of_the_old() -> None:
    first = edition_of(WRITER)
    other = a_catalogue(40, NOW_MS)
    second = edition_of(a_writer(other, NOW_MS + 1, NOW_MS), first)
    assert second.tickers == sorted(market.ticker for market in other.markets)
    assert plain(second) == plain(edition_of(a_writer(other, NOW_MS + 1, NOW_MS)))


def test_an_edition_stands_still_while_the_state_moves() -> None:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    edition = edition_of(writer)
    before = plain(edition)
    topic = f"md.{CATALOGUE.markets[0].series_ticker}."
    writer.stream(topic, "quote", requoted(CATALOGUE.quotes[:1], 99, NOW_MS + 1), 0, 0)
    assert plain(edition) == before
    assert plain(edition_of(writer, edition)) != before


def test_a_quote_newer_than_the_sweep_has_its_own_age() -> None:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    quote = requoted(CATALOGUE.quotes[:1], 99, NOW_MS + 777)[0]
    writer.stream(f"md.{CATALOGUE.markets[0].series_ticker}.", "quote", [quote], 0, 0)
    markets = plain(edition_of(writer))["markets"]["markets"]
    ages = {market["ticker"]: market["as_of"] for market in markets}
    assert ages.pop(quote.ticker) == (NOW_MS + 777) / 1000
    assert set(ages.values()) == {NOW_MS / 1000}


def test_in_play_begins_with_time_alone() -> None:
    event = CATALOGUE.events[0].event_ticker
    start_ms = edition_of(WRITER).timings[event].start_ms
    assert start_ms is not None
    before = edition_of(WRITER, None, start_ms - 86_400_000)
    assert before.timings[event].in_play is False
    later = edition_of(WRITER, before, start_ms)
    assert later.timings[event].in_play is True
    tags = [header(get("/markets", view=view_of(edition)), "etag") for edition in (before, later)]
    assert tags[0] != tags[1]
    same = edition_of(WRITER, later, start_ms + 1)
    assert header(get("/markets", view=view_of(same)), "etag") == tags[1]


def test_an_empty_state_is_an_answer() -> None:
    writer = Writer(9)
    writer.commit([], CycleEnd(0, 0, 0, 0, True, NOW_MS, NOW_MS, NOW_MS, (), NOW_MS), 0, 0)
    answer = decoded(get("/markets", view=view_of(edition_of(writer))))
    assert answer["markets"] == {
        "markets": [],
        "total_count": 0,
        "enriched_count": 0,
        "cursor": "",
        "match_times": {},
    }


def test_the_documentation_names_everything() -> None:
    text = (Path(__file__).parents[2] / "docs/http-api.md").read_text()
    for name in (*PATHS, *MARKETS, *(status.value for status in Status if status is not Status.UNKNOWN)):
        assert f"`{name}`" in text or f"`GET {name}`" in text, name
    for member in decoded(get("/health")):
        assert f"`{member}`" in text, member


def test_integers_beyond_64_bits_and_numbers_beyond_a_double_are_answered_everywhere() -> None:
    catalogue = a_catalogue(3, NOW_MS)
    held = catalogue.markets[0]
    odd = b',"huge":1%b,"huger":1e400,"inside":[{"small":-1%b}],"half":"K\\udcf6"}' % (
        b"0" * 30,
        b"0" * 25,
    )
    catalogue.markets[0] = msgspec.structs.replace(held, raw=held.raw[:-1] + odd)
    view = view_of(edition_of(a_writer(catalogue, NOW_MS, NOW_MS)))
    answers = Answers(lambda: None)
    SnapshotOps(lambda: view, lambda: None, Store(8 << 20, lambda: None)).add_to(answers)

    def ask(**question: object) -> dict[str, Any]:
        (body,) = answers.answer(msgpack.packb({"id": 1, **question}), NOW_MS)
        answer: dict[str, Any] = msgpack.unpackb(body)
        assert answer["ok"], answer
        return answer

    assert odd[:-1] in get("/markets", view=view).content()
    for market in (
        ask(op="market", ticker=held.ticker)["market"],
        ask(op="markets")["markets"]["markets"][0],
    ):
        assert (market["huge"], market["huger"], market["inside"]) == (1e30, math.inf, [{"small": -1e25}])
        assert market["half"] == "K\ufffd"
        assert market["ticker"] == held.ticker
