"""What is otherwise than documented is noticed, whatever it is; what was recorded at the exchange is not."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.json.drift import EXAMPLE_MOST, FINDINGS_MOST, Finding, Sentinel
from publisher.drift import shipped
from simulator.front.mutations import MUTATIONS, mutate
from tests.markets.json.documented import SENTINEL, allows, cells, encoded, payload
from tests.markets.json.recorded import DATA, EVENTS, MARKETS
from tests.simulator.schemas import load
from tests.support import ROOT
from tools.kalshi_spec import compact, text_of

LISTED = {
    "markets": "GET /markets",
    "events": "GET /events",
    "milestones": "GET /events",
    "series": "GET /series",
}
NAMES = {"null": "type", "absent": "missing", "renamed": "unknown", "negative": "range", "huge": "range"}
"""How a member is changed -> what of it is to be noticed, where that does not hang on its type."""


def judged(route: str, body: bytes) -> list[Finding]:
    if route.startswith("frame "):
        return list(SENTINEL.frame(route.removeprefix("frame "), body))
    return list(SENTINEL.reply(route, body))


# --- what is documented, and what was recorded ------------------------------------------------------


def test_the_compact_documents_are_made_of_kalshis() -> None:
    made = text_of(compact(load("openapi"), load("asyncapi")))
    assert made == (ROOT / "markets/json/spec.json").read_text()


def test_whole_payloads_of_every_route_and_frame_are_as_documented() -> None:
    for route, its in SENTINEL.spec.routes.items():
        assert not SENTINEL.reply(route, encoded(payload(its.object))), route
    for kind, its in SENTINEL.spec.frames.items():
        assert not SENTINEL.frame(kind, encoded(payload(its.object))), kind


def recorded_parts() -> Iterator[tuple[str, dict[str, Any]]]:
    for event in [*EVENTS["events"], EVENTS["event_single"]["event"]]:
        yield "events", event
    for market in MARKETS:
        yield "markets", market
    for milestone in json.loads((DATA / "milestones.json").read_text())["milestones"]:
        yield "milestones", milestone
    for series in json.loads((DATA / "series.json").read_text()).values():
        yield "series", series


def test_nothing_is_noticed_in_what_was_recorded() -> None:
    looked_at: Counter[str] = Counter()
    for name, part in recorded_parts():
        assert not SENTINEL.part(LISTED[name], name, encoded(part)), part
        looked_at[name] += 1
    for _, frame in json.loads(gzip.decompress((DATA / "ws_orderbook_stream.json.gz").read_bytes())):
        assert not SENTINEL.frame(frame["type"], encoded(frame)), frame
        looked_at["frames"] += 1
    recorded = load("recorded")
    candles = {"market_ticker": "KXA", "candlesticks": recorded["candlesticks"]}
    assert not SENTINEL.reply("GET /markets/candlesticks", encoded({"markets": [candles]}))
    for session in recorded["sessions"]:
        path = session["path"].removeprefix("/trade-api/v2").partition("?")[0]
        route = SENTINEL.route_of(path)
        if session["status"] != 200:
            assert not SENTINEL.refusal(route, session["status"], encoded(session["body"])), session
        elif path.rpartition("/")[2] not in ("orderbook", "trades"):  # nobody reads these
            assert not SENTINEL.reply(route, encoded(session["body"])), session
        looked_at["sessions"] += 1
    assert looked_at == {
        "events": 35,
        "markets": 278,
        "milestones": 5,
        "series": 4,
        "frames": 269,
        "sessions": 15,
    }


def test_sizes_of_a_determined_market_may_be_below_zero() -> None:
    market = {**payload("Market"), "yes_bid_size_fp": "-12.00", "status": "determined"}
    assert not SENTINEL.part("GET /markets", "markets", encoded(market))
    market["status"] = "active"
    (found,) = SENTINEL.part("GET /markets", "markets", encoded(market))
    assert found == ("GET /markets", "markets.yes_bid_size_fp", "range", '"-12.00"')


# --- every member, changed in every way -------------------------------------------------------------


def test_every_member_changed_in_any_way_is_noticed_unless_the_documents_allow_it() -> None:
    noticed: Counter[str] = Counter()
    for route, place, how, body in cells():
        found = judged(route, body)
        said = f"{route} {place.path} {how}: {found}"
        if allows(place.its, how):
            assert not found, said
            continue
        if route.startswith("frame ") and place.path == "type":
            assert found, said  # it is a frame of another type then
            continue
        at = {finding.member for finding in found}
        assert all(member.startswith(place.named) for member in at), said
        if how in NAMES and place.its.type not in ("word", "code", "time", "since", "uuid"):
            assert NAMES[how] in {finding.what for finding in found}, said
        assert found, said
        noticed[how] += 1
    assert sum(noticed.values()) > 2_000
    assert set(noticed) == set(MUTATIONS)


def test_a_record_is_named_alike_wherever_it_is_nested() -> None:
    market = payload("Market")
    del market["yes_bid_dollars"]
    event = {**payload("EventData"), "markets": [market]}
    for route, body in (
        ("GET /markets", {"markets": [market], "cursor": ""}),
        ("GET /events", {"events": [event], "cursor": ""}),
    ):
        (found,) = SENTINEL.reply(route, encoded(body))
        assert found == (route, "markets.yes_bid_dollars", "missing", "")
        assert not SENTINEL.reply(route, encoded(body), whole=False)
    assert not SENTINEL.part("GET /events", "events", encoded(event))
    assert SENTINEL.part("GET /events", "markets", encoded(market))


@given(st.randoms(use_true_random=False))
def test_what_the_strict_decoder_lets_pass_nothing_is_found_in(random: Any) -> None:
    """The sentinel walks only what its decoder refuses; here all is walked."""
    name = random.choice(("Market", "EventData", "Milestone", "Series"))
    part = payload(name)
    for member in random.sample(sorted(part), 2):
        how = random.choice(MUTATIONS)
        if member in part:
            mutate(part, member, how)
    body = encoded(part)
    route, listed = next(key for key, element in SENTINEL._parts.items() if element == name)
    walked = SENTINEL._walked(route, listed, name, body, False, apart=True)
    assert list(SENTINEL.part(route, listed, body)) == walked


# --- refusals, frames nobody knows, and what is hostile ------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "member"),
    [
        (404, {"error": {"code": "not_found", "message": "not found"}}, None),
        (400, {"code": "bad_request", "message": "bad request", "details": "json"}, None),
        (400, {"msg": "Parameter validation failed"}, None),
        (429, {"error": "too many requests"}, None),
        (503, {"exchange_active": False, "trading_active": False}, None),
        (400, {"error": {"code": "moon_phase", "message": "no"}}, "error.code"),
        (400, {"error": {"reason": "another shape"}}, "error"),
        (400, {"problem": "another shape"}, "error"),
        (400, {"error": None}, "error"),
    ],
)
def test_error_codes_and_shapes_nobody_knows_are_noticed(status: int, body: Any, member: str | None) -> None:
    found = SENTINEL.refusal("GET /markets", status, encoded(body))
    assert [finding.member for finding in found] == ([] if member is None else [member])


def test_a_page_of_something_before_the_api_is_no_drift() -> None:
    for body in (b"", b"<html>503</html>", b"[" * 100_000, b"\xff", b'"busy"'):
        assert not SENTINEL.refusal("GET /markets", 503, body)


ASKED_FOR = (
    b'{"type":"orderbook_snapshot","id":7,"sid":1,"seq":2,"sending_ts_ms":1,'
    b'"msg":{"market_ticker":"A","market_id":"9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1"}}'
)


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (b'{"type":"moon","sid":1,"msg":{}}', "enum"),
        (b'{"type":"error","id":1,"msg":{"code":29,"msg":"New"}}', "enum"),
        (b'{"type":"ok","id":1,"msg":[{"channel":"ticker","sid":1}]}', None),
        (b'{"type":"ok","id":1,"sid":1,"seq":2,"msg":{"market_tickers":["A"]}}', None),
        (b'{"type":"ok","id":1,"msg":[{"channel":"ticker","sid":"1"}]}', "type"),
        (ASKED_FOR, None),
    ],
)
def test_types_and_codes_of_frames(frame: bytes, what: str | None) -> None:
    found = SENTINEL.frame(json.loads(frame)["type"], frame)
    assert [finding.what for finding in found] == ([] if what is None else [what])


@pytest.mark.parametrize(
    "frame", [b"", b"\xff", b"[]", b"null", b'{"type":7}', b"[" * 100_000, b'{"sid":"\xff"}']
)
def test_a_frame_of_which_nothing_can_be_read_is_noticed(frame: bytes) -> None:
    (found,) = SENTINEL.frame("", frame)
    assert (found.route, found.member, found.what) == ("ws root", "type", "type")


def test_examples_are_short_printable_and_none_of_an_accounts_own() -> None:
    market = {
        **payload("Market"),
        "a\x1b[31m\n" * 100: "\x00\ud83d" * 999,
        "title": {"deep": [["x" * 999] * 99] * 9},
    }
    found = SENTINEL.part("GET /markets", "markets", json.dumps(market).encode())
    assert [(finding.what, finding.member.isprintable()) for finding in found] == [
        ("type", True),
        ("unknown", True),
    ]
    for finding in found:
        assert 0 < len(finding.example) <= EXAMPLE_MOST
        assert finding.example.isascii()
        assert finding.example.isprintable()
        assert len(finding.member) < 120
    (long,) = SENTINEL.part(
        "GET /markets", "markets", encoded({**payload("Market"), "settlement_timer_seconds": 10**90})
    )
    assert (long.what, long.example) == ("range", "1" + "0" * 76 + "...")
    limits = {**payload("GetAccountApiLimitsResponse"), "usage_tier": 7, "account": "mine"}
    assert {f.example for f in SENTINEL.reply("GET /account/limits", encoded(limits))} == {""}
    delta = payload("frame.orderbook_delta")
    delta["msg"] |= {"client_order_id": 7, "subaccount": "9", "side": "both"}
    examples = {f.member: f.example for f in SENTINEL.frame("orderbook_delta", encoded(delta))}
    assert examples == {"msg.client_order_id": "", "msg.subaccount": "", "msg.side": '"both"'}


def test_a_hostile_object_costs_no_more_than_so_many_findings() -> None:
    market = payload("Market") | {f"member{number}": number for number in range(50_000)}
    assert len(SENTINEL.part("GET /markets", "markets", encoded(market))) == FINDINGS_MOST
    for body in (b"[" * 200_000, b'{"a":' * 200_000, b'{"ticker":' + b"9" * 100_000 + b"}", b"\xff", b""):
        assert SENTINEL.part("GET /markets", "markets", body)


def test_a_patch_of_an_object_that_the_documents_lack_is_refused() -> None:
    spec = json.dumps({"routes": {}, "frames": {}, "objects": {}}).encode()
    with pytest.raises(ValueError, match="no object Moon"):
        Sentinel(spec, b'{"objects":{"Moon":{"phase":{"type":"text"}}},"error_codes":[]}')
    assert shipped().route_of("/markets/KXA-B") == "GET /markets/{ticker}"
