"""REST as the contract has it: filters and their refusals, cursors, error bodies, signatures, limits."""

import base64
import json
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from markets.errors import StartupError
from simulator.front import auth, cursors
from simulator.front.api import Route
from simulator.front.auth import KeyPair
from simulator.front.limits import Bucket, RequestLimits
from simulator.front.wire import Response
from tests.simulator.venue import START_MS, Client

Make = Callable[..., Client]

LIMIT_OVER_MAX = (
    "Parameter validation failed for GetMarkets: Key: 'GetMarketsParams.Limit' "
    "Error:Field validation for 'Limit' failed on the 'lte' tag"
)


def test_markets_come_newest_first_in_pages_without_loss(client: Client) -> None:
    whole = client.walk("/markets?limit=1000", "markets")
    pages = client.walk("/markets?limit=37", "markets")
    assert [m["ticker"] for m in pages] == [m["ticker"] for m in whole]
    keys = [(m["created_time"][:19], m["ticker"]) for m in whole]
    assert [k[0] for k in keys] == sorted((k[0] for k in keys), reverse=True)
    assert len({k[1] for k in keys}) == len(keys) == len(client.api.exchange.markets)


def test_markets_created_during_a_walk_land_before_the_pages_already_read(make_client: Make) -> None:
    client = make_client(markets=800, bursts=False)
    first = client.get("/markets?limit=500")
    client.advance(900)
    rest = client.walk("/markets?limit=500", "markets", first["cursor"])
    seen = {m["ticker"] for m in first["markets"] + rest}
    fresh = [t for t, m in client.api.exchange.markets.items() if m.event.created_ms > START_MS]
    assert fresh
    assert not seen & set(fresh)
    closing = client.walk(f"/markets?min_created_ts={START_MS // 1000}&limit=1000", "markets")
    assert set(fresh) <= {m["ticker"] for m in closing}


@pytest.mark.parametrize("cursor", ["garbage", "AAAA", "%00", "Cg", "CgwIuKKp0QYQ-MDV3QIS"])
def test_a_garbage_cursor_means_the_first_page(client: Client, cursor: str) -> None:
    assert client.get(f"/markets?limit=5&cursor={cursor}") == client.get("/markets?limit=5")


def test_a_recorded_cursor_is_read() -> None:
    recorded = "CgwIuKKp0QYQ-MDV3QISJ0tYTUxCSElULTI2SlVOMTExMzEwQVpNSUEtQVpHUEVSRE9NTzItMw"
    assert cursors.decode(recorded) == (1781158200733, "KXMLBHIT-26JUN111310AZMIA-AZGPERDOMO2-3")


@given(st.integers(0, 2**42), st.text(string.printable, min_size=1, max_size=40))
def test_cursors_round_trip(time_ms: int, key: str) -> None:
    assert cursors.decode(cursors.encode(time_ms, key)) == (time_ms, key)


@given(st.text(string.printable + "\u00e9\u20ac", max_size=60))
def test_no_cursor_text_breaks_the_decoder(text: str) -> None:
    position = cursors.decode(text)
    assert position is None or isinstance(position[1], str)


def test_a_status_word_selects_its_statuses(make_client: Make) -> None:
    client = make_client(markets=800, bursts=False)
    exchange = client.api.exchange
    exchange.pause_market(next(m for m in exchange.markets.values() if m.status == "active"), True)
    words = {
        "unopened": {"initialized"},
        "open": {"active"},
        "closed": {"closed", "determined", "disputed"},
        "settled": {"finalized"},
        "paused": {"inactive"},
    }
    seen: dict[str, set[str]] = {word: set() for word in words}
    for _ in range(15):
        client.advance(80)
        for word, statuses in words.items():
            if word in ("closed", "settled", "paused") or not seen[word]:
                markets = client.walk(f"/markets?status={word}&limit=1000", "markets")
                seen[word] |= {m["status"] for m in markets}
                assert seen[word] <= statuses
    assert all(seen.values())
    assert {"closed", "determined"} <= seen["closed"]


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/markets?limit=1001", {"msg": LIMIT_OVER_MAX}),
        ("/markets?status=finalized", "invalid status filter"),
        ("/markets?status=open,closed", "invalid status filter"),
        ("/events?status=paused", "invalid status filter"),
        ("/markets?min_created_ts=1&min_close_ts=1", None),
        ("/markets?status=settled&min_created_ts=1", None),
        ("/markets?status=closed&min_settled_ts=1", None),
        ("/markets?min_updated_ts=1&status=open", None),
        ("/markets?min_updated_ts=1&tickers=A", None),
        ("/markets?min_updated_ts=1&series_ticker=KXMLBGAME", None),
        ("/markets?min_updated_ts=x", None),
        ("/markets?mve_filter=both", None),
        ("/markets?event_ticker=A,B", None),
        ("/events?limit=0", None),
        ("/events?limit=201", None),
        ("/events?with_nested_markets=maybe", None),
        ("/markets/KXNBA-27-BOS/orderbook?depth=101", None),
        ("/markets/orderbooks", None),
        ("/markets/orderbooks?" + "&".join(f"tickers=T{i}" for i in range(101)), None),
        ("/milestones", {"msg": "Query argument limit is required, but not found"}),
        ("/milestones?limit=501", None),
        ("/milestones?limit=5&minimum_start_date=yesterday", None),
    ],
)
def test_bad_parameters_are_refused_in_kalshis_words(client: Client, target: str, body: object) -> None:
    answer = client.get(target, 400)
    if isinstance(body, dict):
        assert answer == body
    elif isinstance(body, str):
        assert answer == {"error": {"code": "bad_request", "message": "bad request", "details": body}}
    else:
        assert set(answer) in ({"msg"}, {"error"})


@pytest.mark.parametrize(
    "target", ["/markets/NOPE", "/events/NOPE", "/series/NOPE", "/milestones/NOPE", "/nothing"]
)
def test_what_does_not_exist_answers_404(client: Client, target: str) -> None:
    assert client.get(target, 404)["error"]["code"] == "not_found"


def test_a_wrong_method_is_not_served(client: Client) -> None:
    assert client.send("/trade-api/v2/markets", "POST").status == 405


def test_filters_select(client: Client) -> None:
    whole = client.walk("/markets?limit=1000", "markets")
    event = whole[40]["event_ticker"]
    mine = [m["ticker"] for m in whole if m["event_ticker"] == event]
    assert [m["ticker"] for m in client.get(f"/markets?event_ticker={event}")["markets"]] == mine
    some = [whole[3]["ticker"], whole[9]["ticker"]]
    assert [m["ticker"] for m in client.get(f"/markets?tickers={','.join(some)},NOPE")["markets"]] == some
    series = client.get(f"/events/{event}")["event"]["series_ticker"]
    assert set(mine) <= {m["ticker"] for m in client.walk(f"/markets?series_ticker={series}", "markets")}
    assert client.get("/markets?mve_filter=only")["markets"] == []
    assert client.walk("/markets?mve_filter=exclude&limit=1000", "markets") == whole


def test_updated_filter_sees_metadata_and_never_quotes(make_client: Make) -> None:
    client = make_client(markets=1500)
    exchange = client.api.exchange
    client.advance(300)
    since = START_MS // 1000
    changed = {m["ticker"] for m in client.walk(f"/markets?min_updated_ts={since}&limit=1000", "markets")}
    touched = {t for t, m in exchange.markets.items() if m.event.updated_ms > START_MS}
    assert changed == touched
    assert len(changed) < len(exchange.markets) / 2 < exchange.quote_changes


def test_events_nest_markets_and_milestones(client: Client) -> None:
    page = client.get("/events?with_nested_markets=true&with_milestones=true&limit=200")
    assert page["events"]
    assert page["milestones"]
    nested = {m["ticker"] for e in page["events"] for m in e["markets"]}
    flat = {m["ticker"] for m in client.walk("/markets?limit=1000", "markets")}
    assert nested <= flat
    plain = client.get("/events?limit=200")
    assert "markets" not in plain["events"][0]
    assert "milestones" not in plain
    ticker = page["events"][0]["event_ticker"]
    assert client.get(f"/events?tickers={ticker},X")["events"][0]["event_ticker"] == ticker
    single = client.get(f"/events/{ticker}")
    assert "markets" not in single["event"]
    assert single["markets"] == page["events"][0]["markets"]
    inside = client.get(f"/events/{ticker}?with_nested_markets=true")
    assert inside["event"]["markets"] == single["markets"]
    assert inside["markets"] == []


def test_a_batch_of_books_takes_repeated_tickers_and_reads_a_comma_list_as_one_unknown(
    client: Client,
) -> None:
    a, b = [m["ticker"] for m in client.get("/markets?status=open&limit=2")["markets"]]
    batch = client.get(f"/markets/orderbooks?tickers={a}&tickers={b}")["orderbooks"]
    assert [book["ticker"] for book in batch] == [a, b]
    assert batch[0]["orderbook_fp"] == client.get(f"/markets/{a}/orderbook")["orderbook_fp"]
    comma = client.get(f"/markets/orderbooks?tickers={a},{b}")["orderbooks"]
    assert comma == [{"orderbook_fp": {"no_dollars": [], "yes_dollars": []}, "ticker": f"{a},{b}"}]
    assert client.get("/markets/NOPE/orderbook") == {"orderbook_fp": {"no_dollars": [], "yes_dollars": []}}


def test_depth_keeps_the_best_levels_ascending(client: Client) -> None:
    ticker = next(t for t, m in client.api.exchange.markets.items() if m.bid_e4 > 1000 and m.ask_e2)
    whole = client.get(f"/markets/{ticker}/orderbook")["orderbook_fp"]
    some = client.get(f"/markets/{ticker}/orderbook?depth=3")["orderbook_fp"]
    assert some == {side: levels[-3:] for side, levels in whole.items()}


# Signatures ---------------------------------------------------------------------------------------


@pytest.fixture
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def signed(key: rsa.RSAPrivateKey | Ed25519PrivateKey, text: str, salt: int = 32) -> str:
    if isinstance(key, Ed25519PrivateKey):
        return base64.b64encode(key.sign(text.encode())).decode()
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
    return base64.b64encode(key.sign(text.encode(), pss, hashes.SHA256())).decode()


def headers(
    key: rsa.RSAPrivateKey | Ed25519PrivateKey, text: str, timestamp: int, key_id: str = "id", salt: int = 32
) -> dict[str, str]:
    return {
        auth.KEY: key_id,
        auth.TIMESTAMP: str(timestamp),
        auth.SIGNATURE: signed(key, f"{timestamp}{text}", salt),
    }


STATUS = "/trade-api/v2/exchange/status"


@pytest.mark.parametrize("salt", [32, 222])
@pytest.mark.parametrize("skew_ms", [0, -5_000, 5_000])
def test_a_good_rsa_signature_passes(
    client: Client, rsa_key: rsa.RSAPrivateKey, salt: int, skew_ms: int
) -> None:
    client.api.keys = {"id": KeyPair("id", rsa_key.public_key())}
    good = headers(rsa_key, f"GET{STATUS}", START_MS + skew_ms, salt=salt)
    assert client.send(STATUS + "?query=unsigned", headers=good).status == 200


def test_a_good_ed25519_signature_passes(client: Client) -> None:
    key = Ed25519PrivateKey.generate()
    client.api.keys = {"id": KeyPair("id", key.public_key())}
    assert client.send(STATUS, headers=headers(key, f"GET{STATUS}", START_MS)).status == 200
    wrong = headers(Ed25519PrivateKey.generate(), f"GET{STATUS}", START_MS)
    assert client.send(STATUS, headers=wrong).status == 401


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            "wrong_text",
            {
                "code": "authentication_error",
                "message": "authentication_error",
                "details": "INCORRECT_API_KEY_SIGNATURE",
            },
        ),
        (
            "query_signed",
            {
                "code": "authentication_error",
                "message": "authentication_error",
                "details": "INCORRECT_API_KEY_SIGNATURE",
            },
        ),
        (
            "not_base64",
            {
                "code": "authentication_error",
                "message": "authentication_error",
                "details": "INCORRECT_API_KEY_SIGNATURE",
            },
        ),
        (
            "unknown_key",
            {"code": "authentication_error", "message": "authentication_error", "details": "NOT_FOUND"},
        ),
        (
            "no_signature",
            {"code": "signature_is_missing_from_headers", "message": "signature is missing from headers"},
        ),
        ("old", {"code": "header_timestamp_expired", "message": "header timestamp expired"}),
        ("early", {"code": "header_timestamp_expired", "message": "header timestamp expired"}),
        ("no_number", {"code": "header_timestamp_expired", "message": "header timestamp expired"}),
    ],
)
def test_bad_authentication_is_refused_with_the_recorded_bodies(
    client: Client, rsa_key: rsa.RSAPrivateKey, change: str, error: dict[str, str]
) -> None:
    client.api.keys = {"id": KeyPair("id", rsa_key.public_key())}
    good = headers(rsa_key, f"GET{STATUS}", START_MS)
    match change:
        case "wrong_text":
            good = headers(rsa_key, "GET/exchange/status", START_MS)
        case "query_signed":
            good = headers(rsa_key, f"GET{STATUS}?a=b", START_MS)
        case "not_base64":
            good[auth.SIGNATURE] = "!!"
        case "unknown_key":
            good[auth.KEY] = "other"
        case "no_signature":
            del good[auth.SIGNATURE]
        case "old":
            good = headers(rsa_key, f"GET{STATUS}", START_MS - 300_000)
        case "early":
            good = headers(rsa_key, f"GET{STATUS}", START_MS + 300_000)
        case "no_number":
            good[auth.TIMESTAMP] = "now"
    answer = client.send(STATUS, headers=good)
    assert (answer.status, json.loads(answer.body)) == (401, {"error": error})


def test_private_routes_want_a_signature(client: Client) -> None:
    assert client.send("/trade-api/v2/portfolio/balance").status == 401


def test_keys_are_made_once_and_kept_private(tmp_path: Path) -> None:
    first = auth.load_or_create(tmp_path / "run")
    again = auth.load_or_create(tmp_path / "run")
    assert list(first) == list(again) == [(tmp_path / "run" / auth.KEY_ID_FILE).read_text().strip()]
    pem = tmp_path / "run" / auth.PRIVATE_KEY_FILE
    assert pem.stat().st_mode & 0o777 == 0o600
    assert isinstance(serialization.load_pem_private_key(pem.read_bytes(), None), rsa.RSAPrivateKey)


def test_each_account_has_a_key_pair_of_its_own(tmp_path: Path) -> None:
    pairs = auth.load_or_create(tmp_path, 2)
    ids = [(tmp_path / name).read_text().strip() for name in ("sim_key_id", "sim_key_id_2")]
    assert [(pair.key_id, pair.account) for pair in pairs.values()] == [(ids[0], 1), (ids[1], 2)]
    assert (tmp_path / "sim_private_key_2.pem").stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_a_link_or_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / auth.PRIVATE_KEY_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartupError):
        auth.load_or_create(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / auth.PRIVATE_KEY_FILE).write_text("no key")
    with pytest.raises(StartupError, match="delete both"):
        auth.load_or_create(tmp_path / "b")


# Limits and counters ------------------------------------------------------------------------------


def test_basic_reads_hold_sixty_calls_and_refill_twenty_a_second(make_client: Make) -> None:
    client = make_client(tier="basic")
    burst = [client.send(STATUS).status for _ in range(70)]
    assert burst.count(200) == 60
    assert burst[-1] == 429
    client.now_ms += 1000
    assert [client.send(STATUS).status for _ in range(25)].count(200) == 20
    refused = client.send(STATUS)
    assert json.loads(refused.body) == {
        "error": {"code": "too_many_requests", "message": "too many requests"}
    }
    assert not {"retry-after", "x-ratelimit-remaining"} & set(refused.headers)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 60)), max_size=50))
def test_a_bucket_never_gives_more_than_capacity_and_refill(requests: list[tuple[int, int]]) -> None:
    bucket = Bucket.full(200, 600, 0)
    now, paid = 0, 0
    for wait, cost in requests:
        now += wait
        paid += cost if bucket.take(cost, now) else 0
        assert paid * 1000 <= 600_000 + 200 * now


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(-(10**11), 10**11)), max_size=50))
def test_by_the_steady_clock_no_step_of_the_wall_clock_refuses_or_allows_more(
    requests: list[tuple[int, int]],
) -> None:
    steady = 0
    limits, stepped = RequestLimits("basic"), RequestLimits("basic", lambda: steady)
    for wait, wall_ms in requests:
        steady += wait
        for _ in range(9):
            assert stepped.take("key", False, 10, wall_ms) is limits.take("key", False, 10, steady)


def test_stats_count_requests_by_route_but_not_the_local_ones(client: Client) -> None:
    client.get("/markets?limit=1")
    client.get("/markets/NOPE", 404)
    client.get("/nothing", 404)
    client.send("/sim/truth")
    stats = json.loads(client.send("/sim/stats").body)
    assert stats == {
        "exchange_id": client.api.exchange_id,
        "requests_total": 3,
        "by_route": {"GET /markets": 1, "GET /markets/{ticker}": 1, "other": 1},
        "responses_429": 0,
        "ws_frames": 0,
    }


def test_an_error_of_our_own_is_kalshis_500_logged_once_and_over(client: Client) -> None:
    def fail(_call: Any) -> Response:
        raise RuntimeError("broken")

    pattern = re.compile("^/broken$")
    client.api.routes = (Route("GET", "/broken", pattern, fail, False), *client.api.routes)
    expected = {"error": {"code": "internal_server_error", "message": "internal server error"}}
    with capture_logs() as logs:
        for _ in range(3):
            assert client.get("/broken", 500) == expected
        assert client.get("/exchange/status")["exchange_active"]

        def broken_life(_subject: object, _time_ms: int) -> None:
            raise ValueError("broken life")

        client.api.exchange.agenda.at(client.now_ms + 1_000, broken_life, None)
        client.now_ms += 2_000
        assert client.get("/exchange/status", 500) == expected
        assert client.get("/exchange/status")["exchange_active"]
    assert [str(entry["exc_info"]) for entry in logs] == ["broken", "broken life"]
