"""Places the probe's orders, and leaves none behind. Pure.

Each order is killed at once, or carries an `expiration_time`: half a minute later it is over, whatever dies.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from markets.errors import BadRecord
from markets.units import format_count, format_price
from publisher.orders import replies, requests
from publisher.orders.life import SIGNATURE_MS
from publisher.orders.replies import SeenOrder
from publisher.orders.requests import ORDERS, Asked
from publisher.orders.steps import Reply

from .talk import Ask, Pause, Talk, Unanswered, good, read, rows, said
from .venue import LOW_E4, SLIP_E4, Spot

LIFE_S: Final = 30
POLL_MS: Final = 100
PATIENCE_MS: Final = 10_000
"""How long to wait for what must show up."""

PROOF_MS: Final = 30_000
"""How long, beyond the time when anything may still arrive, to try to prove that nothing is left."""

_JSON: Final = msgspec.json.Encoder()


class Placed(NamedTuple):
    """An order that was requested, and the answer."""

    client_order_id: str
    spot: Spot
    reply: Reply
    created: replies.Created | None
    at_ms: int

    @property
    def order_id(self) -> str:
        """Its id.

        Raises:
            Unanswered: it was not accepted.
        """
        if self.created is None:
            raise Unanswered(f"the order was answered {said(self.reply)}")
        return self.created.order_id

    @property
    def filled_e2(self) -> int:
        """How much of it was filled at once."""
        return (self.created.filled_e2 or 0) if self.created is not None else 0


class Desk:
    """The probe's own orders.

    Args:
        new_id: makes client order ids, each a new one.
        life_s: the longest an order rests.

    Attributes:
        bought_e2: contracts by market, bought less sold.
        now_ms: the exchange's time when an order was last looked at.
    """

    def __init__(self, new_id: Callable[[], str], life_s: int = LIFE_S) -> None:
        self.bought_e2: dict[str, int] = {}
        self._new_id = new_id
        self._life_s = life_s
        self._ids: set[str] = set()
        self._open: set[str] = set()
        self._places: dict[str, tuple[str, int]] = {}
        self._spots: dict[str, Spot] = {}
        self._lost_until_ms = 0
        self._written_ms = 0
        self.now_ms = 0

    def place(
        self,
        spot: Spot,
        *,
        client_order_id: str | None = None,
        side: str = "bid",
        price_e4: int = LOW_E4,
        count_e2: int = 100,
        time_in_force: str = "good_till_canceled",
        post_only: bool | None = None,
        life_s: int | None = None,
        **members: Any,
    ) -> Talk[Placed]:
        """Ask for an order: by default one that rests, post-only, far below the market."""
        own = client_order_id if client_order_id is not None else self._new_id()
        self._ids.add(own)
        rests = time_in_force == "good_till_canceled"
        body: dict[str, Any] = {
            "ticker": spot.ticker,
            "client_order_id": own,
            "side": side,
            "count": format_count(count_e2),
            "price": format_price(price_e4),
            "time_in_force": time_in_force,
            "self_trade_prevention_type": "taker_at_cross",
            "exchange_index": spot.shard,
            **members,
        }
        if rests:
            now_ms = (yield Pause(0)).now_ms
            body["post_only"] = True if post_only is None else post_only
            body["expiration_time"] = now_ms // 1000 + (life_s or self._life_s)
        told = yield Ask(
            Asked("create", "POST", ORDERS, (), _JSON.encode(body), requests.COST, spot.shard), "create"
        )
        self._written_ms = told.now_ms
        reply = told.reply
        made = replies.created(reply.body) if reply.status in (200, 201) else None
        if made is not None:
            self._note(spot, side, made, rests)
        elif reply.left and (reply.status is None or not 400 <= reply.status < 500) and rests:
            # It may arrive as long as its signature is valid, and rests until it expires.
            self._lost_until_ms = told.now_ms + max(self._life_s * 1000, SIGNATURE_MS)
        return Placed(own, spot, reply, made, told.now_ms)

    def _note(self, spot: Spot, side: str, made: replies.Created, rests: bool) -> None:
        filled_e2 = made.filled_e2 or 0
        if filled_e2:
            sign = 1 if side == "bid" else -1
            self.bought_e2[spot.ticker] = self.bought_e2.get(spot.ticker, 0) + sign * filled_e2
            self._spots[spot.ticker] = spot
        if rests:
            self._rests(made.order_id, spot)

    def _rests(self, order_id: str, spot: Spot) -> None:
        self._open.add(order_id)
        self._places[order_id] = (spot.ticker, spot.shard)

    def rest(self, spot: Spot, **members: Any) -> Talk[Placed]:
        """Let an order rest.

        Raises:
            Unanswered: it was refused.
        """
        placed = yield from self.place(spot, **members)
        good(Asked("create", "POST", ORDERS), placed.reply)
        if not placed.order_id:
            raise Unanswered("the order has no id")
        return placed

    def take(self, spot: Spot, count_e2: int, **members: Any) -> Talk[Placed]:
        """Buy this much at once.

        Raises:
            Unanswered: it was refused, or not filled completely.
        """
        placed = yield from self.place(
            spot, price_e4=spot.take_e4, count_e2=count_e2, time_in_force="immediate_or_cancel", **members
        )
        good(Asked("create", "POST", ORDERS), placed.reply)
        if placed.filled_e2 != count_e2:
            raise Unanswered(
                f"{format_count(count_e2)} {spot.ticker} was not to be had at {format_price(spot.take_e4)}"
            )
        return placed

    def amend(self, placed: Placed, price_e4: int, expires_s: int) -> Talk[replies.Created]:
        """Give an order of one contract another price or end.

        Raises:
            Unanswered: it was refused.
        """
        body = {
            "ticker": placed.spot.ticker,
            "client_order_id": placed.client_order_id,
            "side": "bid",
            "price": format_price(price_e4),
            "count": format_count(100),
            "exchange_index": placed.spot.shard,
            "expiration_time": expires_s,
        }
        path = f"{ORDERS}/{placed.order_id}/amend"
        asked = Asked("amend", "POST", path, (), _JSON.encode(body), requests.COST, placed.spot.shard)
        told = yield Ask(asked, "renew")
        self._written_ms = told.now_ms
        good(asked, told.reply)
        made = replies.created(told.reply.body)
        if made is None:
            raise Unanswered("the amend was answered without an order id")
        self._rests(made.order_id, placed.spot)
        return made

    def cancel(self, order_id: str, *, shard: int | None = None, routed: bool = True) -> Talk[Reply]:
        """Cancel an order: on its own shard, on another one, or without naming a shard (`routed` False)."""
        ticker, own = self._places[order_id]
        asked = requests.cancel_listed(order_id, ticker, own if shard is None else shard)
        if not routed or shard is not None:
            asked = asked._replace(query=asked.query[:1] if routed else ())
        told = yield Ask(asked, "cancel")
        self._written_ms = told.now_ms
        if told.reply.status == 200 or (told.reply.status == 404 and routed and shard is None):
            self._open.discard(order_id)
        return told.reply

    def write(self, asked: Asked) -> Talk[Reply]:
        """Send another request that changes something."""
        told = yield Ask(asked, "renew")
        self._written_ms = told.now_ms
        return told.reply

    def seen(self, order_id: str) -> Talk[SeenOrder | None]:
        """Return an order as it is listed, None if it is not."""
        asked = requests.order(order_id)
        told = yield Ask(asked)
        self.now_ms = told.now_ms
        if told.reply.status == 404:
            return None
        try:
            return replies.order(good(asked, told.reply).get("order"))
        except BadRecord as error:
            raise Unanswered(f"the order cannot be read: {error}") from None

    def shown(self, order_id: str) -> Talk[SeenOrder]:
        """Return an order as soon as it is listed.

        Raises:
            Unanswered: it is not, for too long.
        """
        waited_ms = 0
        while (found := (yield from self.seen(order_id))) is None:
            if waited_ms >= PATIENCE_MS:
                raise Unanswered(f"the order was not shown within {PATIENCE_MS // 1000} s")
            yield Pause(POLL_MS)
            waited_ms += POLL_MS
        return found

    def clear(self) -> Talk[None]:
        """Cancel what still rests from the last question."""
        for order_id in list(self._open):
            yield from self.cancel(order_id)
            self._open.discard(order_id)  # anything left over is found by the list at the end

    def sell(self) -> Talk[None]:
        """Sell what was bought, at what is bid."""
        for ticker, count_e2 in list(self.bought_e2.items()):
            spot = self._spots[ticker]
            price_e4 = max(LOW_E4, spot.bid_e4 - SLIP_E4)
            if count_e2 > 0:
                yield from self.place(
                    spot, side="ask", price_e4=price_e4, count_e2=count_e2,
                    time_in_force="immediate_or_cancel", reduce_only=True,
                )  # fmt: skip

    def prove(self) -> Talk[str | None]:
        """Cancel what is listed until a late enough list shows nothing; otherwise return what is open."""
        now_ms = (yield Pause(0)).now_ms
        until_ms = max(now_ms, self._lost_until_ms) + PROOF_MS
        while True:
            try:
                as_of_ms = yield from self._as_of()
                left = yield from self._listed()
                for order_id, ticker, shard in left:
                    told = yield Ask(requests.cancel_listed(order_id, ticker, shard), "cancel")
                    self._written_ms = told.now_ms
                if not left and as_of_ms > max(self._written_ms, self._lost_until_ms):
                    return None
                problem = f"{len(left)} still listed" if left else "no list is late enough"
            except Unanswered as error:
                problem = str(error)
            if now_ms > until_ms:
                return (
                    f"it is not proved that nothing rests ({problem}); an order of the probe ends by itself "
                    f"{self._life_s} s after it was placed"
                )
            now_ms = (yield Pause(POLL_MS)).now_ms

    def _as_of(self) -> Talk[int]:
        found = yield from read(requests.moment())
        try:
            return replies.as_of_ms(_JSON.encode(found))
        except BadRecord as error:
            raise Unanswered(str(error)) from None

    def _listed(self) -> Talk[list[tuple[str, str, int]]]:
        found: list[tuple[str, str, int]] = []
        cursor = ""
        while True:
            page = yield from read(requests.resting(cursor))
            for row in rows(page, "orders"):
                if row.get("client_order_id") in self._ids or row.get("order_id") in self._places:
                    seen = (
                        str(row.get("order_id")),
                        str(row.get("ticker")),
                        int(row.get("exchange_index") or 0),
                    )
                    found.append(seen)
            cursor = str(page.get("cursor") or "")
            if not cursor:
                return found
