"""What the gateway looks up at the exchange, one request after another. Pure.

A job is a generator: it yields what to ask and is sent the result. So what belongs together is written in one
piece, however long the answers take.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Final, NamedTuple

from markets.errors import BadRecord

from . import replies, requests
from .account import LISTS, VITAL, Listing
from .replies import Named, SeenFill, SeenOrder, UnreadableFill
from .requests import Asked
from .steps import Reply

PAGES_MOST: Final = 200
AHEAD_MOST_MS: Final = 5_000
"""How much later than the reply's `date_ms` a list, or an order's last change, may be said to be."""


class Looked(NamedTuple):
    """All orders since a moment, and the fills that could not be read.

    `as_of_ms` is 0 if it was not asked for; `unreadable_orders` may be ours.
    """

    as_of_ms: int
    orders: list[SeenOrder]
    unreadable_orders: int
    unreadable_fills: list[UnreadableFill]


class Failed(Exception):
    """The answer is useless; the job is over."""


Job = Generator[Asked, Reply, None]


def good(reply: Reply) -> bytes:
    """Return the body of a 200.

    Raises:
        Failed: it is none.
    """
    if reply.status != 200:
        raise Failed(reply.trouble or f"status {reply.status}")
    return reply.body


def moment() -> Generator[Asked, Reply, int]:
    """Return the time as of which lists asked for from now on are.

    Raises:
        Failed: the exchange does not say, or it says a time to come, which would prove what no list can.
    """
    reply = yield requests.moment()
    try:
        as_of_ms = replies.as_of_ms(good(reply))
    except BadRecord as error:
        raise Failed(str(error)) from None
    if reply.date_ms is not None and as_of_ms > reply.date_ms + AHEAD_MOST_MS:
        raise Failed("lists as of a time to come")
    return as_of_ms


def dated(seen: SeenOrder, reply: Reply) -> SeenOrder:
    """Return an order of a reply, without the time of its last change where that is still to come.

    Changes are adopted by that time, so a wrong one would hide all that come after it.
    """
    if reply.date_ms is not None and (seen.updated_ms or 0) > reply.date_ms + AHEAD_MOST_MS:
        return seen._replace(updated_ms=None)
    return seen


def orders_since(
    since_ms: int, ours: Callable[[Named], bool]
) -> Generator[Asked, Reply, tuple[list[SeenOrder], int]]:
    """Return all orders since a moment, and how many could not be read and may be ours.

    Raises:
        Failed: a page of them could not be had.
    """
    found: list[SeenOrder] = []
    unreadable, cursor = 0, ""
    seen: set[str] = set()
    while True:
        reply = yield requests.orders(since_ms, cursor)
        listed, cursor = _page(reply, "orders")
        for one in listed:
            try:
                found.append(dated(replies.order(one), reply))
            except BadRecord:
                unreadable += not _somebodys(one, ours)
        if not goes_on(cursor, seen):
            return found, unreadable


def _somebodys(one: object, ours: Callable[[Named], bool]) -> bool:
    """Whether an order that cannot be read is certainly somebody else's: ours all have an id of ours."""
    name = replies.named(one)
    return bool(name.client_order_id) and not ours(name)


def fills_since(
    since_ms: int, order_id: str = ""
) -> Generator[Asked, Reply, tuple[list[SeenFill], list[UnreadableFill]]]:
    """Return all fills since a moment, or of an order, oldest first, and those that could not be read.

    Raises:
        Failed: a page of them could not be had.
    """
    found: list[SeenFill] = []
    unreadable: list[UnreadableFill] = []
    cursor = ""
    seen: set[str] = set()
    while True:
        reply = yield (
            requests.order_fills(order_id, cursor) if order_id else requests.fills(since_ms, cursor)
        )
        listed, cursor = _page(reply, "fills")
        for one in listed:
            try:
                found.append(replies.fill(one))
            except BadRecord:
                unreadable.append(replies.unreadable_fill(one))
        if not goes_on(cursor, seen):
            found.reverse()
            return found, unreadable


def one_order(order_id: str) -> Generator[Asked, Reply, SeenOrder | None]:
    """Return an order, None if the exchange does not know it (yet).

    Raises:
        Failed: the answer is useless.
    """
    reply = yield requests.order(order_id)
    if reply.status == 404:
        return None
    try:
        return dated(replies.order(replies.members(good(reply)).get("order")), reply)
    except BadRecord as error:
        raise Failed(str(error)) from None


def queues(tickers: Sequence[str]) -> Generator[Asked, Reply, dict[str, int]]:
    """Return by order id how many contracts are before each order that rests in these markets.

    Raises:
        Failed: an answer is of no use.
    """
    found: dict[str, int] = {}
    for first in range(0, len(tickers), requests.QUEUES_MOST):
        reply = yield requests.queues(tickers[first : first + requests.QUEUES_MOST])
        try:
            found |= replies.queues(good(reply))
        except BadRecord as error:
            raise Failed(str(error)) from None
    return found


def account(listing: Listing) -> Generator[Asked, Reply, Listing]:
    """Fill a listing of the account.

    Raises:
        Failed: an essential part could not be fetched or read.
    """
    listing.as_of_ms = yield from moment()
    for what in LISTS:
        cursor, seen = "", set[str]()
        while True:
            reply = yield _asked(what, listing.since_ms, cursor)
            try:
                cursor = listing.read(what, good(reply))
                if what == "resting":
                    listing.resting = [dated(seen, reply) for seen in listing.resting]
                more = goes_on(cursor, seen)
            except (BadRecord, Failed) as error:
                if what in VITAL:
                    raise Failed(f"{what}: {error}") from None
                listing.missing.append(what)
                listing.trouble = listing.trouble or f"{what}: {error}"
                break
            if not more:
                break
    return listing


def _asked(what: str, since_ms: int, cursor: str) -> Asked:
    if what == "balance":
        return requests.balance()
    if what == "netting":
        return requests.netting()
    if what == "positions":
        return requests.positions(cursor)
    if what == "resting":
        return requests.resting(cursor)
    if what == "settlements":
        return requests.settlements(since_ms, cursor)
    return requests.movements(what, cursor)


def _page(reply: Reply, key: str) -> tuple[list[object], str]:
    try:
        return replies.page(good(reply), key)
    except BadRecord as error:
        raise Failed(str(error)) from None


def goes_on(cursor: str, seen: set[str]) -> bool:
    """Return whether there is another page.

    Raises:
        Failed: it came before, or there are too many.
    """
    if not cursor:
        return False
    if cursor in seen or len(seen) >= PAGES_MOST:
        raise Failed("a list without an end")
    seen.add(cursor)
    return True
