"""Answers and frames against the official specification files, and routes fuzzed from them."""

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.front.operations import ROUTES
from simulator.front.ws import Hub
from tests.simulator.schemas import FRAMES, answer_errors, fill, frame_errors, operations
from tests.simulator.venue import START_MS, Client

Make = Callable[..., Client]

PATHS = dict(operations())


@pytest.fixture(scope="module")
def lived(make_client: Make) -> Client:
    """An exchange that has lived for a while, all states of the life cycle in it."""
    client = make_client(markets=1500)
    client.advance(900)
    return client


def values_of(client: Client) -> dict[str, str]:
    event = next(e for e in client.api.exchange.events.values() if e.group.milestone and e.status == "active")
    assert event.group.milestone is not None
    return {
        "series_ticker": event.series.ticker,
        "event_ticker": event.ticker,
        "ticker": event.markets[0].ticker,
        "milestone_id": event.group.milestone.id,
        "type": event.group.milestone.body["type"],
        "structured_target_id": next(iter(client.api.exchange.catalogue.targets)),
        "collection_ticker": "KXNONE",
    }


NEEDED = {
    "/milestones": "limit=500",
    "/markets": "limit=1000",
    "/events": "limit=200&with_nested_markets=true&with_milestones=true",
    "/series": "include_product_metadata=true&include_volume=true",
    "/structured_targets": "page_size=2000",
    "/markets/trades": "limit=1000",
}


def query_for(path: str, values: dict[str, str]) -> str:
    start, end = START_MS // 1000 - 7200, START_MS // 1000 + 900
    spans = f"start_ts={start}&end_ts={end}&period_interval=1&include_latest_before_start=true"
    if path.endswith("/candlesticks"):
        return spans + (f"&market_tickers={values['ticker']}" if path == "/markets/candlesticks" else "")
    if path == "/markets/orderbooks":
        return f"tickers={values['ticker']}"
    if path == "/live_data/batch":
        return f"milestone_ids={values['milestone_id']}"
    return NEEDED.get(path, "")


def test_every_market_data_operation_of_the_specification_is_served() -> None:
    missing = set(PATHS) - {route.template for route in ROUTES}
    assert not missing


@pytest.mark.parametrize("path", sorted(PATHS))
def test_answers_validate_against_the_specification(lived: Client, path: str) -> None:
    values = values_of(lived)
    target = fill(path, values)
    if path == "/series/{series_ticker}/events/{ticker}/candlesticks":
        target = target.replace(values["ticker"], values["event_ticker"])
    answer = lived.send(f"/trade-api/v2{target}?{query_for(path, values)}")
    if path.startswith(("/historical/markets/", "/multivariate_event_collections/")):
        assert answer.status == 404  # nothing is so old yet, and there are no combos
        return
    assert answer.status == 200, answer.body
    assert answer_errors(path, json.loads(answer.body)) == []


def test_markets_events_and_milestones_of_all_states_validate(lived: Client) -> None:
    for path, target, key in (
        ("/markets", "/markets?limit=1000", "markets"),
        ("/events", "/events?limit=200&with_nested_markets=true", "events"),
        ("/milestones", "/milestones?limit=500", "milestones"),
    ):
        elements = lived.walk(target, key)
        assert len(elements) > 50
        for element in elements[:: 4 if key == "markets" else 2]:
            assert answer_errors(path, {key: [element], "cursor": ""}) == []
    for event in lived.walk("/events?limit=200", "events")[::20]:
        ticker = event["event_ticker"]
        for flag in ("true", "false"):
            body = lived.get(f"/events/{ticker}?with_nested_markets={flag}")
            assert answer_errors("/events/{event_ticker}", body) == []


def test_frames_validate_against_the_specification(make_client: Make) -> None:
    client = make_client(markets=1500, trade_share=0.8)
    hub = Hub(client.api.exchange)
    session = hub.connect()
    books = [t for t, m in client.api.exchange.markets.items() if m.bid_e2][:200]

    def update(action: str, tickers: list[str]) -> dict[str, object]:
        params = {"sid": 4, "action": action, "market_tickers": tickers}
        return {"cmd": "update_subscription", "params": params}

    commands: list[dict[str, object]] = [
        {"cmd": "subscribe", "params": {"channels": ["ticker", "trade", "market_lifecycle_v2"]}},
        {"cmd": "subscribe", "params": {"channels": ["orderbook_delta"], "market_tickers": books[:100]}},
        {"cmd": "subscribe", "params": {"channels": ["orderbook_delta"], "market_tickers": books}},
        update("get_snapshot", books[:2]),
        update("delete_markets", books[:2]),
        {"cmd": "list_subscriptions"},
        {"cmd": "subscribe", "params": {"channels": ["nope"]}},
    ]
    for number, command in enumerate(commands, start=1):
        session.receive(json.dumps({"id": number, **command}), client.now_ms)
    frames = []
    for _ in range(50):
        client.advance(10)  # a burst within would else be too much for a reader who never reads
        # Thousands of deltas look alike: all other frames, and every hundredth of them.
        frames += [
            json.loads(text)
            for i, text in enumerate(session.outgoing)
            if not text.startswith(('{"type":"orderbook_delta', '{"type":"ticker')) or i % 100 == 0
        ]
        session.outgoing.clear()
    session.receive(json.dumps({"id": 99, "cmd": "unsubscribe", "params": {"sids": [1, 4]}}), client.now_ms)
    frames += [json.loads(text) for text in session.outgoing]
    problems = {problem for frame in frames for problem in frame_errors(frame)}
    assert problems == set()
    kinds = {frame["type"] for frame in frames}
    assert kinds == set(FRAMES)


SCALARS = st.one_of(
    st.sampled_from(
        ["", "0", "1", "-1", "100", "1001", "true", "nope", "open", "9" * 30, "2026-10-19T18:00:00Z", "1e5"]
    ),
    st.integers(-(2**63), 2**64).map(str),
    st.text("aA0%/?&=+\x00\n' \"<>\\{}\u00e9\u20ac", max_size=12),
)


@given(data=st.data())
@settings(max_examples=200)
def test_no_request_from_the_specification_breaks_the_exchange(lived: Client, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(PATHS)))
    values = values_of(lived)
    segments = {
        name: values[name] if data.draw(st.booleans()) else quote(data.draw(SCALARS) or "x", safe="")
        for name in values
    }
    asked = [p["name"] for p in PATHS[path] if p["in"] == "query" and data.draw(st.booleans())]
    pairs = [f"{name}={quote(data.draw(SCALARS), safe='')}" for name in asked]
    answer = lived.send(f"/trade-api/v2{fill(path, segments)}?{'&'.join(pairs)}")
    assert answer.status in (200, 400, 401, 404)
    body = json.loads(answer.body)
    if answer.status == 200:
        assert answer_errors(path, body) == []
    else:
        assert isinstance(body, dict)
        assert "msg" in body or set(body["error"]) <= {"code", "message", "details"}
        assert "Traceback" not in answer.body.decode()


@given(st.text("/abc{}%.-_", max_size=30), st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]))
def test_unknown_routes_and_methods_get_kalshis_error(lived: Client, tail: str, method: str) -> None:
    answer = lived.send("/trade-api/v2/zzz" + tail, method)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (404, "not_found")


@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=0),
        st.sampled_from([b"[]", b"{}", b"null", b'{"id":true}', b"[" * 5000]),
    )
)
def test_no_message_breaks_a_connection(lived: Client, message: bytes | str) -> None:
    session = Hub(lived.api.exchange).connect()
    lived.api.exchange.listeners.pop()
    session.receive(message, START_MS)
    (answer,) = [json.loads(text) for text in session.outgoing]
    assert answer["type"] == "error"
    assert frame_errors(answer) == []


COMMANDS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.one_of(st.integers(-5, 5), st.text("a", max_size=2), st.none()),
        "cmd": st.sampled_from(
            ["subscribe", "unsubscribe", "update_subscription", "list_subscriptions", "x", None]
        ),
        "params": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={
                    "channels": st.one_of(
                        st.none(),
                        st.lists(
                            st.sampled_from(["ticker", "orderbook_delta", "trade", "fill", "bad", 3]),
                            max_size=3,
                        ),
                    ),
                    "market_tickers": st.one_of(
                        st.none(), st.lists(st.sampled_from(["KXNBA-27-BOS", "NOPE", "", 1]), max_size=3)
                    ),
                    "market_ticker": st.sampled_from(["KXNBA-27-BOS", "", 7, None]),
                    "sid": st.one_of(st.integers(0, 3), st.just("1")),
                    "sids": st.one_of(
                        st.none(),
                        st.lists(
                            st.one_of(st.integers(0, 3), st.text(max_size=1), st.lists(st.none())), max_size=3
                        ),
                    ),
                    "action": st.sampled_from(["add_markets", "delete_markets", "get_snapshot", "x", None]),
                    "use_yes_price": st.sampled_from([True, False, "yes", None]),
                    "market_ids": st.one_of(st.none(), st.lists(st.text(max_size=2), max_size=2)),
                },
            ),
        ),
    },
)


@given(st.lists(COMMANDS, min_size=1, max_size=6))
@settings(max_examples=150)
def test_no_command_breaks_a_connection_and_each_is_answered(
    lived: Client, commands: list[dict[str, object]]
) -> None:
    session = Hub(lived.api.exchange).connect()
    lived.api.exchange.listeners.pop()
    for command in commands:
        before = len(session.outgoing)
        session.receive(json.dumps(command), START_MS)
        assert len(session.outgoing) > before
    for text in session.outgoing:
        assert frame_errors(json.loads(text)) == []
