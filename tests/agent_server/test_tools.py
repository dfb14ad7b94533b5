"""The tools' answers for a state, and for wrong arguments. With processes: tests/e2e/test_agents.py."""

import json
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from agent_server import words
from agent_server.tools import TOOLS, answer, schema_of
from agent_server.world import Unanswered
from bus.trading.shapes import OrderRow, PositionRow
from markets.orders import OrderState
from markets.records import Book
from tests.agent_server.seen import NOW_MS, WINNER, Seen
from tests.agent_server.seen import seen as seen  # noqa: PLC0414  a fixture
from tests.support import ROOT
from tests.ui.stage import DULL, MATCH

ORDER: dict[str, Any] = {
    "ticker": WINNER, "side": "yes", "yes_means": "", "contracts": 5, "price_dollars": ".5",
}  # fmt: skip


HELD = PositionRow(
    ticker=WINNER, event_ticker=MATCH, series_ticker="KXMLSGAME", title=None, label="Vancouver", side="no",
    count_fp="5.00", cost_dollars="2.500000", average_price_dollars="0.5000", fees_dollars="0.000000",
    bid_dollars=None, value_dollars=None, unrealised_dollars=None, as_of=None, stale=False, strategy="value",
    opened=1.0, status=None, close_time=None, start_time=None,
)  # fmt: skip


def ask(seen: Seen, tool: str, **arguments: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(answer(seen, tool, arguments))
    return told


def test_every_answer_about_markets_begins_with_age_and_exchange(seen: Seen) -> None:
    for tool, arguments in (
        ("market", {"ticker": WINNER}),
        ("event", {"event_ticker": MATCH}),
        ("search_markets", {"text": "vancouver"}),
        ("movers", {}),
        ("closing_soon", {}),
        ("opportunities", {}),
        ("book", {"ticker": WINNER}),
        ("rules", {"ticker": WINNER}),
    ):
        told = ask(seen, tool, **arguments)
        assert list(told)[:2] == ["data", "exchange"], tool
        assert told["data"] == "data is 3.2 s old"
        assert told["exchange"] == "a simulated exchange: no real money"


def test_a_market_shows_what_yes_means_and_both_sides_prices_in_dollars(seen: Seen) -> None:
    told = ask(seen, "market", ticker=f" {WINNER.lower()} ")
    quote = seen.state.quotes[WINNER]
    assert told["ticker"] == WINNER
    assert told["yes_means"] == seen.state.markets[WINNER].yes_sub_title
    assert float(told["yes_ask"]) == quote.yes_ask_e4 / 10_000
    assert float(told["no_ask"]) == pytest.approx(1 - float(told["yes_bid"]))
    assert told["fair_value"] == {"yes": 0.5123, "margin": 0.01, "source": "mine", "age": "5.0 s"}


def test_a_side_without_offers_has_no_price(seen: Seen) -> None:
    quote = seen.state.quotes[WINNER]
    seen.state.quotes[WINNER] = msgspec.structs.replace(quote, yes_ask_size_e2=0)
    told = ask(seen, "market", ticker=WINNER)
    assert told["yes_ask"] is None
    assert told["no_bid"] is None
    assert told["yes_bid"] is not None


def test_a_missing_book_is_wished_for_and_a_present_one_has_each_offer_once(seen: Seen) -> None:
    seen.state.books.pop(WINNER, None)
    told = ask(seen, "book", ticker=WINNER)
    assert told["book"] is None
    assert "call again" in told["note"]
    assert seen.wished == [WINNER]

    seen.state.books[WINNER] = Book(WINNER, NOW_MS - 1_000, ((4_000, 100), (4_500, 250)), ((5_300, 700),))
    told = ask(seen, "book", ticker=WINNER, depth=1)
    assert told["yes_bids"] == [["0.4500", "2.50"]]
    assert told["yes_asks"] == [["0.4700", "7.00"]]
    assert told["no_bids"] == [["0.5300", "7.00"]]
    assert told["levels"] == {"yes": 2, "no": 1}
    assert told["age"] == "1.0 s"


def test_movers_show_how_far_and_since_when(seen: Seen) -> None:
    told = ask(seen, "movers")
    assert [(row["ticker"], row["moved_dollars"]) for row in told["movers"]] == [
        (WINNER, "-0.0900"),
        (f"{MATCH}-HOU", "+0.0400"),
    ]
    assert (told["movers"][0]["yes_stood_at"], told["moved_in_all"]) == ("0.5000", 3)
    assert told["since"].startswith("2027-")
    assert ask(seen, "movers", window="1h", category="politics")["movers"] == []
    assert len(ask(seen, "movers", window="1h", category="SPORTS", limit=1)["movers"]) == 1


def test_opportunities_come_with_every_reason_against_them(seen: Seen) -> None:
    told = ask(seen, "opportunities", limit=100)
    assert told["candidates"] >= 1
    assert len(told["opportunities"]) == told["candidates"]
    for row in told["opportunities"]:
        assert row["tradable"] is (row["reasons_against"] == [])
        assert row["why"]
        assert all(leg["price_dollars"] for leg in row["legs"])
    assert len(ask(seen, "opportunities", tradable_only=True)["opportunities"]) == min(10, told["tradable"])


def test_rules_are_bounded_and_marked_as_not_an_instruction(seen: Seen) -> None:
    seen.sent = {"rules_primary": "If it does. " * 5_000, "rules_secondary": None, "can_close_early": "maybe"}
    told = ask(seen, "rules", ticker=WINNER)
    assert told["rules"].startswith("If it does.")
    assert len(told["rules"]) <= words.TEXT_MAX
    assert told["more_rules"] == ""
    assert told["can_close_early"] is None
    assert "never an instruction" in told["note"]


def test_a_mistyped_ticker_is_answered_with_the_nearest(seen: Seen) -> None:
    with pytest.raises(Unanswered, match=f"no such market is known: did you mean .*{WINNER}"):
        ask(seen, "market", ticker=f"{WINNER[:-1]}M")
    with pytest.raises(Unanswered, match="is an event, expected one of its markets"):
        ask(seen, "market", ticker=MATCH)
    with pytest.raises(Unanswered, match="find it with search_markets"):
        ask(seen, "event", event_ticker="\x00\u202e")


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("marcket", {}, "did you mean market"),
        ("market", {}, "market: ticker: got None, expected a market's ticker, such as "),
        ("market", {"ticker": 7}, "market: ticker: got 7, expected a market's ticker, such as "),
        ("market", {"ticker": "A", "now": True}, "market: now: got True, expected only ticker"),
        ("market", {"ticker": "A", "a b": 7}, "market: a b: got 7, expected only ticker"),
        ("search_markets", {"text": "x", "limit": 10**9}, "expected the maximum number of rows, 1 to 100"),
        ("opportunities", {"kind": "free_money"}, "kind: got 'free_money', expected one of"),
        ("results", {"since": "yesterday"}, "since: got 'yesterday', expected a UTC day, such as 2026-01-31"),
        (
            "results",
            {"since": "2026-12-02", "until": "2026-12-01"},
            "until: got '2026-12-01', expected 2026-12-02 or later",
        ),
        ("movers", {"window": "2h"}, "movers: window: got '2h', expected 1h or 24h"),
        ("prepare_order", ORDER | {"side": "maybe"}, "side: got 'maybe', expected yes or no"),
        ("prepare_order", ORDER | {"contracts": -1}, "got -1, expected whole contracts, 1 to 1000000; each"),
        ("prepare_order", ORDER | {"contracts": 1.5}, "contracts"),
        ("prepare_order", ORDER | {"price_dollars": "1.5"}, "price_dollars"),
        ("prepare_order", ORDER | {"price_dollars": 0.5}, "price_dollars"),
        ("prepare_order", ORDER | {"action": "sell"}, "action: got 'sell', expected only ticker, "),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(
    seen: Seen, tool: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(Unanswered) as refused:
        answer(seen, tool, arguments)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert seen.asked == []


def test_an_order_for_a_market_other_than_meant_is_not_even_prepared(seen: Seen) -> None:
    order = {name: value for name, value in ORDER.items() if name != "yes_means"}
    means = ask(seen, "market", ticker=WINNER)["yes_means"]
    for wrong in ("Houston", "", f"not {means}", "yes"):
        with pytest.raises(Unanswered, match="nothing was prepared"):
            ask(seen, "prepare_order", **order, yes_means=wrong)
    assert seen.asked == []

    told = ask(seen, "prepare_order", **order, yes_means=f" {means.upper()} ")
    assert told["sent"] is False
    assert told["ticket"]["pays_if"] == means
    assert "kalshi-bus trader confirm 4711" in told["note"]
    assert seen.asked == [
        {
            "op": "prepare",
            "what": "buy",
            "ticker": WINNER,
            "side": "yes",
            "count_fp": "5",
            "price_dollars": "0.5000",
            "rest_seconds": None,
        }
    ]


def test_a_sale_of_a_side_not_held_is_not_even_prepared(seen: Seen) -> None:
    sale = {"ticker": WINNER, "yes_means": ask(seen, "market", ticker=WINNER)["yes_means"], "contracts": 2}
    with pytest.raises(Unanswered, match="side: got 'yes', but the trader holds nothing in"):
        ask(seen, "prepare_sale", **sale, side="yes")
    seen.held = (HELD,)
    with pytest.raises(Unanswered, match="side: got 'yes', but the trader holds NO in"):
        ask(seen, "prepare_sale", **sale, side="yes")
    with pytest.raises(Unanswered, match="nothing was prepared"):
        ask(seen, "prepare_sale", **sale | {"yes_means": "Houston"}, side="no")
    assert seen.asked == []

    told = ask(seen, "prepare_sale", **sale, side="no", price_dollars="0.4")
    assert told["ticket"]["sells"] == f"2.00 of 5.00 contracts of NO in {WINNER}"
    assert told["sent"] is False
    assert "trader confirm 4712" in told["note"]
    (asked,) = seen.asked
    assert (asked["what"], asked["count_fp"], asked["price_dollars"]) == ("sell", "2", "0.4000")


def test_no_tool_can_place_end_or_stop_anything() -> None:
    verbs = ("confirm", "cancel", "close_", "flatten", "place", "kill", "pause", "resume", "adopt", "sell")
    named = [name for name in TOOLS if any(verb in name for verb in verbs)]
    assert all(name.startswith("prepare_") for name in named)


def test_schemas_are_valid_and_describe_each_argument() -> None:
    for name, tool in TOOLS.items():
        schema = schema_of(tool)
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object", name
        assert schema["additionalProperties"] is False
        for argument, about in schema["properties"].items():
            assert "description" in json.dumps(about) or argument in ("since", "until"), (name, argument)


def test_the_document_lists_the_tools_with_their_descriptions() -> None:
    document = (ROOT / "docs" / "agents.md").read_text()
    table = document.split("<!-- tools -->")[1].split("<!-- /tools -->")[0]
    assert table.split("\n", 3)[3].strip().splitlines() == [
        f"| `{name}` | {tool.text} |" for name, tool in TOOLS.items()
    ]


def test_an_event_with_a_hostile_title_is_answered(seen: Seen) -> None:
    told = ask(seen, "event", event_ticker=DULL)
    assert told["market_count"] == len(told["markets"])
    assert told["title"]


def an_order(number: int, ended: float | None) -> OrderRow:
    return OrderRow(
        number=number, client_order_id="", trade=number, strategy="maker", ticker=WINNER, event_ticker=MATCH,
        label="", side="yes", price_dollars="0.5000", count_fp="1.00", filled_fp="0.00",
        cost_dollars="0.000000", fees_dollars="0.000000", status=OrderState.RESTING, reason=None,
        created=NOW_MS / 1000, ended=ended, latency_ms=None, basis=(1, 1), edge_dollars="0.000000",
        probability=None, attempt=0,
    )  # fmt: skip


def test_an_open_order_is_found_among_many_that_ended_after_it(seen: Seen) -> None:
    def open_orders(limit: int) -> tuple[list[int], str]:
        said = json.loads(answer(seen, "orders", {"open_only": True, "limit": limit}))
        return [row["number"] for row in said["orders"]], said["note"]

    rests = {7, 350}
    seen.orders = tuple(
        an_order(number, None if number in rests else NOW_MS / 1000) for number in range(900, 0, -1)
    )
    assert open_orders(20) == ([350, 7], "newest first")
    assert open_orders(1) == ([350], "newest first")
    seen.orders = tuple(an_order(number, NOW_MS / 1000) for number in range(6_000, 0, -1))
    assert open_orders(20) == ([], "newest first; there may be others, older than number 1001")
