"""What a person asks of the engine, and the ticket that answers to `Prepare`. In journals for ever."""

from typing import Final

import msgspec

MANUAL: Final = "manual"
"""The strategy of a person's own orders."""

TICKET_MS: Final = 60_000
"""A ticket may be confirmed for so long."""


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all of these."""


class Prepare(Ask, frozen=True):
    """Work out an order and say what risk says of it; nothing is placed.

    Attributes:
        price_e4: limit, in prices of `side`.
        rest_ms: how long what is not filled at once is to rest; None: it does not.
    """

    ticker: str
    side: str
    count_e2: int
    price_e4: int
    rest_ms: int | None = None


class Confirm(Ask, frozen=True):
    """Place the order of a ticket."""

    ticket: int


class CancelOrder(Ask, frozen=True):
    """End an order, whoever placed it."""

    number: int


class ClosePosition(Ask, frozen=True):
    """Sell what is held of a market, at `price_e4` of the side that is held or better; None: at the bids."""

    ticker: str
    price_e4: int | None = None


class Flatten(Ask, frozen=True):
    """Cancel every order and close every position, as far as it goes now. It is asked in rounds, from 1."""

    round: int


class Adopt(Ask, frozen=True):
    """Take over what the exchange's account has, though nothing explains it; `lines` as they were shown."""

    lines: tuple[str, ...]


AnyAsk = Prepare | Confirm | CancelOrder | ClosePosition | Flatten | Adopt


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """An order as it would be placed now.

    Attributes:
        number: names it until it is confirmed; no two within eleven days have the same.
        best_e4: the best price now, None where nobody offers.
        fillable_e2: how much of it would be filled at once.
        cost_e6, fees_e6: of that; of an order that rests, of all of it.
        worst_e6: the most that it can cost, fees included, all of which can be lost.
        reason: why risk would not let it pass now, empty if it would.
        prepared_ms: when, by the steady clock. valid_until_ms: the end of its time by the wall clock.
    """

    number: int
    ticker: str
    event_ticker: str
    label: str
    side: str
    count_e2: int
    price_e4: int
    rest_ms: int | None
    best_e4: int | None
    fillable_e2: int
    cost_e6: int
    fees_e6: int
    worst_e6: int
    reason: str
    prepared_ms: int
    valid_until_ms: int
