"""The arguments of the tools with their descriptions, as clients see them and as they are checked."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all arguments."""


Ticker = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        description="A market's ticker, such as KXNBAGAME-26NOV29LALBOS-LAL, 1 to 200 characters.",
    ),
]
EventTicker = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        description="An event's ticker, 1 to 200 characters: a market's without its last part.",
    ),
]
Limit = Annotated[int, Meta(ge=1, le=100, description="The maximum number of rows, 1 to 100.")]
Hours = Annotated[
    float, Meta(gt=0, le=24 * 366, description="The number of hours, above 0 and at most 8784.")
]
Category = Annotated[
    str,
    Meta(
        max_length=100,
        description="Only this category, such as Sports, at most 100 characters; default: all.",
    ),
]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$", description="A UTC day, such as 2026-01-31.")]


class NoArguments(Arguments, frozen=True, kw_only=True):
    pass


class SearchArguments(Arguments, frozen=True, kw_only=True):
    text: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=200,
            description="Words, 1 to 200 characters in all; all must occur in ticker, title or outcome.",
        ),
    ]
    limit: Limit = 20


class MarketArguments(Arguments, frozen=True, kw_only=True):
    ticker: Ticker


class EventArguments(Arguments, frozen=True, kw_only=True):
    event_ticker: EventTicker


class BookArguments(Arguments, frozen=True, kw_only=True):
    ticker: Ticker
    depth: Annotated[
        int, Meta(ge=1, le=50, description="The maximum number of price levels per side, 1 to 50.")
    ] = 10


class HistoryArguments(Arguments, frozen=True, kw_only=True):
    ticker: Ticker
    hours: Hours = 24.0
    points: Annotated[
        int,
        Meta(
            ge=1, le=200, description="The maximum number of changes, and of trades, 1 to 200, newest ones."
        ),
    ] = 40


class MoversArguments(Arguments, frozen=True, kw_only=True):
    window: Annotated[Literal["1h", "24h"], Meta(description="The time over which the move is measured.")] = (
        "24h"
    )
    limit: Limit = 20
    category: Category = ""


class ClosingArguments(Arguments, frozen=True, kw_only=True):
    hours: Hours = 24.0
    category: Category = ""
    limit: Limit = 20


class OpportunityArguments(Arguments, frozen=True, kw_only=True):
    tradable_only: Annotated[
        bool,
        Meta(description="Only those without reasons against them; otherwise the best, with their reasons."),
    ] = False
    kind: Annotated[
        str, Meta(max_length=50, description="Only this kind, at most 50 characters; default: all.")
    ] = ""
    event_ticker: Annotated[
        str, Meta(max_length=200, description="Only this event, at most 200 characters; default: all.")
    ] = ""
    limit: Limit = 10


class OrdersArguments(Arguments, frozen=True, kw_only=True):
    open_only: Annotated[bool, Meta(description="Only those that have not ended.")] = False
    limit: Limit = 20


class ResultsArguments(Arguments, frozen=True, kw_only=True):
    since: Day | None = None
    until: Day | None = None


YesMeans = Annotated[
    str,
    Meta(
        max_length=300,
        description="What YES of this market stands for, copied word for word from `yes_means` of the tool "
        "`market`, at most 300 characters. If it does not match, nothing is prepared: this guards against "
        "buying the wrong side.",
    ),
]
Contracts = Annotated[
    int, Meta(ge=1, le=1_000_000, description="Whole contracts, 1 to 1000000; each pays $1 or nothing.")
]


class PrepareArguments(Arguments, frozen=True, kw_only=True):
    ticker: Ticker
    side: Annotated[
        Literal["yes", "no"],
        Meta(description="The side to buy: yes pays $1 if the outcome occurs, no if it does not."),
    ]
    yes_means: YesMeans
    contracts: Contracts
    price_dollars: Annotated[
        str,
        Meta(
            pattern=r"^0?\.\d{1,4}$",
            description="Limit price of the side to buy, in dollars as text: 0.45 buys at 0.45 or lower.",
        ),
    ]
    rest_seconds: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=86_400,
                description="How many seconds the unfilled part rests in the book, 1 to 86400; default: it "
                "is cancelled.",
            ),
        ]
        | None
    ) = None


class PrepareSaleArguments(Arguments, frozen=True, kw_only=True):
    ticker: Ticker
    side: Annotated[
        Literal["yes", "no"], Meta(description="The side that is held, as given by the tool `positions`.")
    ]
    yes_means: YesMeans
    contracts: Contracts | None = None
    price_dollars: (
        Annotated[
            str,
            Meta(
                pattern=r"^0?\.\d{1,4}$",
                description="The lowest price to accept for the side held, in dollars; default: the bids.",
            ),
        ]
        | None
    ) = None


class PrepareCancelArguments(Arguments, frozen=True, kw_only=True):
    number: Annotated[
        int, Meta(ge=1, le=2**53, description="The order's number, as given by the tool `orders`.")
    ]
