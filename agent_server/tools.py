"""The tools that agents may call: each with its description, arguments and answer.

An answer is a map of JSON values; prices, counts and money are exact text in dollars and contracts; unknown
values are null. An error is one sentence. Nothing here can place, end or stop an order: see docs/agents.md.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from bus.trading.asked import asked
from markets.errors import KalshiBusError

from . import market_tools, trader_tools, words
from .arguments import (
    Arguments,
    BookArguments,
    ClosingArguments,
    EventArguments,
    HistoryArguments,
    MarketArguments,
    MoversArguments,
    NoArguments,
    OpportunityArguments,
    OrdersArguments,
    PrepareArguments,
    PrepareCancelArguments,
    PrepareSaleArguments,
    ResultsArguments,
    SearchArguments,
)
from .world import Unanswered, World


class Tool(NamedTuple):
    """A tool that an agent may call.

    Attributes:
        text: its purpose, and how to read its answer.
        answer: makes the answer from checked arguments. Raises Unanswered.
    """

    text: str
    arguments: type[Arguments]
    answer: Callable[[World, Any], dict[str, Any]]


TOOLS: Final[Mapping[str, Tool]] = {
    "status": Tool(
        "How fresh the data is, which exchange it comes from (simulated, demo or Kalshi), whether the trader "
        "is trading and with what money. Call it first, and again when an answer says STALE or REPLAY.",
        NoArguments,
        trader_tools.status,
    ),
    "search_markets": Tool(
        "Find markets, events and series by words in their title, outcome or ticker. Returns tickers with "
        "what YES means and current prices; take a ticker from here rather than guessing one.",
        SearchArguments,
        market_tools.search_markets,
    ),
    "market": Tool(
        "Everything about one market now: what YES means, both sides' prices in dollars (a contract pays "
        "$1), sizes, volume, times, result, and the trader's fair value if it has one.",
        MarketArguments,
        market_tools.market,
    ),
    "event": Tool(
        "One event with all its markets and prices, most active first; whether only one outcome can pay, "
        "and when its match starts.",
        EventArguments,
        market_tools.event,
    ),
    "book": Tool(
        "The order book of one market by price level. If it is not available yet, it is requested: call "
        "again about 15 seconds later.",
        BookArguments,
        market_tools.book,
    ),
    "history": Tool(
        "How the best prices of one market moved and what was traded, newest last, as far as the local "
        "history goes back (kept_since).",
        HistoryArguments,
        market_tools.history,
    ),
    "rules": Tool(
        "What decides a market, in the exchange's own words, when it may close early, and its fee schedule. "
        "Read it before you call anything certain.",
        MarketArguments,
        market_tools.rules,
    ),
    "movers": Tool(
        "The open markets whose price moved most within the last hour or day, as far as the local history "
        "goes back (since).",
        MoversArguments,
        market_tools.movers,
    ),
    "closing_soon": Tool(
        "Events whose open markets end within a number of hours, the earliest first.",
        ClosingArguments,
        market_tools.closing_soon,
    ),
    "opportunities": Tool(
        "Candidate trades found by the scanner, best first, after fees and given the depth: why each would "
        "make a profit (why), its worst case, and every reason against it (reasons_against; empty: "
        "tradable).",
        OpportunityArguments,
        market_tools.opportunities,
    ),
    "positions": Tool(
        "What the trader holds, with cost, value at the bid and profit, and the trader's state.",
        NoArguments,
        trader_tools.positions,
    ),
    "orders": Tool(
        "The trader's own orders, newest first, with what was filled and why each ended.",
        OrdersArguments,
        trader_tools.orders,
    ),
    "results": Tool(
        "What the trader has earned: in total, and by strategy, kind of opportunity and day.",
        ResultsArguments,
        trader_tools.results,
    ),
    "prepare_order": Tool(
        "Have the trader work out a purchase: cost, fees, what can be lost, and whether its limits would "
        "allow it. It PLACES NOTHING: only a person can confirm the ticket, within 60 s. Read the market "
        "first.",
        PrepareArguments,
        trader_tools.prepare_order,
    ),
    "prepare_sale": Tool(
        "Have the trader work out a sale of its position in a market: the proceeds, what remains, and the "
        "cost compared with waiting for the result. It SELLS NOTHING: only a person can confirm the ticket.",
        PrepareSaleArguments,
        trader_tools.prepare_sale,
    ),
    "prepare_cancel": Tool(
        "Have the trader show which order would be cancelled, and how much money that frees. It CANCELS "
        "NOTHING: only a person can confirm the ticket.",
        PrepareCancelArguments,
        trader_tools.prepare_cancel,
    ),
    "prepare_flatten": Tool(
        "Have the trader work out what cancelling every order and selling every position would bring. It "
        "DOES NOTHING: only a person can confirm the ticket.",
        NoArguments,
        trader_tools.prepare_flatten,
    ),
}


def schema_of(tool: Tool) -> dict[str, Any]:
    """Return the JSON Schema of a tool's arguments."""
    (found,), parts = msgspec.json.schema_components((tool.arguments,), ref_template="#/$defs/{name}")
    name = found["$ref"].rpartition("/")[2]
    schema = dict(parts.pop(name))
    schema.pop("title", None)
    schema.pop("description", None)
    return schema | ({"$defs": parts} if parts else {})


def answer(world: World, name: str, arguments: Mapping[str, Any] | None) -> str:
    """Return the answer of a tool as JSON text, bounded.

    Raises:
        Unanswered: it cannot be answered; the message says why in one sentence.
    """
    tool = TOOLS.get(name)
    if tool is None:
        nearest = difflib.get_close_matches(name, TOOLS, 1)
        hint = f": did you mean {nearest[0]}?" if nearest else f", expected one of {', '.join(TOOLS)}"
        raise Unanswered(f"tool: got {name!r:.60}{hint}")
    try:
        return words.encoded(tool.answer(world, asked(arguments or {}, tool.arguments)))
    except Unanswered:
        raise
    except KalshiBusError as error:
        raise Unanswered(f"{name}: {error}") from None
