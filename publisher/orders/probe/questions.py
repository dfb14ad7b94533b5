"""What the probe asks, one question after another: what is done, what it may cost, what follows. Pure.

First come those that can lose nothing, later those that buy something; the cancel of all, which may catch new
orders for a minute afterwards, comes last.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from markets.errors import BadRecord
from markets.units import (
    format_count,
    format_money,
    format_time,
    parse_count_e2,
    parse_decimal,
    parse_price_e4,
)
from publisher.orders import replies, requests
from publisher.orders.life import READ_LAG_MS, SIGNATURE_MS
from publisher.orders.requests import ORDERS, Asked
from publisher.orders.steps import AHEAD_MS

from .desk import PATIENCE_MS, POLL_MS, Desk, Placed
from .talk import Ask, Frame, Hear, Hush, Listen, Pause, Talk, Unanswered, good, read, rows, said
from .venue import HIGH_E4, LOW_E4, TICK_E4, Spot, Venue, cash

CENT_E6: Final = 10_000
FEE_E6: Final = 3 * CENT_E6
"""The highest fee of one fill: at most 1.75 cents a contract, rounded up by an intermediary."""

REST_E6: Final = LOW_E4 * 100 + FEE_E6
"""The cost of a resting order of one contract, should it be filled."""

AGES_S: Final = (2, 5, 8, 12, 20, 28, 32, 40)
"""Ages of signatures, in seconds, that are tried until one is refused."""

FILLS: Final = 12
"""How often, at most, something is bought to see in which order it is reported."""

GRID_FILLS: Final = 3
LAG_TRIES: Final = 5
HEAR_MS: Final = 3_000
QUIET_MS: Final = 400
SETTLED_MOST: Final = 5
CATCH_MS: Final = 60_000
"""How long after a cancel of all the exchange may catch new orders."""

LATER: Final = "do not trade: a request may arrive later than the gateway waits for it"
NO_SETTING: Final = "nothing: the gateway is right either way"
_JSON: Final = msgspec.json.Encoder()

Value = bool | int | str


class Answer(NamedTuple):
    """What the exchange did. `switch`: what makes the simulated exchange do the same, if it can."""

    did: str
    as_assumed: bool
    follows: str = NO_SETTING
    switch: Mapping[str, Value] = MappingProxyType({})


class Question(NamedTuple):
    """A question.

    Attributes:
        cost: the most its orders may cost, in micro-dollars, should all be filled and worthless.
        ask: asks it; raises Unanswered.
    """

    name: str
    about: str
    assumed: str
    cost: Callable[[Venue], int]
    ask: Callable[[Desk, Venue], Talk[Answer]]


def _free(_venue: Venue) -> int:
    return 0


def _resting(orders: int) -> Callable[[Venue], int]:
    return lambda _venue: orders * REST_E6


def _bought(fills: int, count_e2: int | None = None, resting: int = 0) -> Callable[[Venue], int]:
    def cost(venue: Venue) -> int:
        spot = venue.main
        return fills * ((count_e2 or spot.least_e2) * spot.take_e4 + FEE_E6) + resting * REST_E6

    return cost


# -- signatures, the key and the account: nothing is placed


def signatures(_desk: Desk, _venue: Venue) -> Talk[Answer]:
    """Use ever older signatures."""
    taken = 0
    for age_s in AGES_S:
        told = yield Ask(requests.balance(), "read", age_s * 1000)
        if told.reply.status == 401:
            bound_s = SIGNATURE_MS // 1000
            follows = f"nothing: not placed is believed {bound_s} s after the signature, not before"
            if not taken:
                follows = (
                    f"set this machine's clock: orders leave with signatures of up to {AHEAD_MS / 1000} s"
                )
            elif age_s > bound_s + 2:
                follows = LATER
            return Answer(
                f"taken {taken} s after the signature, refused after {age_s} s ({said(told.reply)})",
                follows.startswith("nothing"),
                follows,
            )
        if told.reply.status != 200:
            raise Unanswered(f"a signature of {age_s} s ago was answered {said(told.reply)}")
        taken = age_s
    return Answer(f"taken {taken} s after the signature, too", False, LATER)


def netting(_desk: Desk, _venue: Venue) -> Talk[Answer]:
    """Find out whether collateral is returned."""
    found = yield from read(requests.netting())
    enabled: dict[int, bool] = {}
    for row in rows(found, "netting_configs"):
        number, on = row.get("subaccount_number"), row.get("enabled")
        if isinstance(number, int) and isinstance(on, bool):
            enabled[number] = on
    if not enabled:
        raise Unanswered("no subaccount is listed")
    newest = enabled[max(enabled)]
    told = ", ".join(f"{number} {'on' if on else 'off'}" for number, on in sorted(enabled.items()))
    return Answer(f"by subaccount: {told}", not newest, NO_SETTING, {"collateral_return": newest})


def attestation(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Find out until when the account's attestation of its place is valid, and try an order that needs it."""
    found = yield from read(Asked("keys", "GET", "/api_keys"))
    until_s = found.get("api_key_region_expiration_ts")
    until_s = int(until_s) if isinstance(until_s, int | float) else None
    words = "no attestation" if until_s is None else f"attested until {format_time(until_s * 1000)}"
    over = until_s is not None and until_s * 1000 <= venue.as_of_ms
    switch: dict[str, Value] = {} if until_s is None else {"attestation_expires_s": until_s}
    if venue.gated is None:
        raise Unanswered(f"{words}; no market of Sports, Elections or Entertainment is open")
    placed = yield from desk.place(
        venue.gated, price_e4=LOW_E4, count_e2=venue.gated.least_e2, time_in_force="immediate_or_cancel"
    )
    barred = placed.reply.status == 403
    return Answer(
        f"{words}; an order in {venue.gated.category} was answered {said(placed.reply)}",
        barred == over,
        "renew it at Kalshi, or leave out KALSHI_BUS_CATEGORIES Sports, Elections and Entertainment"
        if barred
        else "nothing",
        switch,
    )


def settlements(_desk: Desk, _venue: Venue) -> Talk[Answer]:
    """Look through settlements for a payout that was not in whole cents."""
    page = yield from read(requests.settlements(0))
    tried = 0
    for row in rows(page, "settlements"):
        value, fee = row.get("value"), row.get("fee_cost")
        if row.get("market_result") in ("yes", "no") or value in (0, 100) or tried == SETTLED_MOST:
            continue
        tried += 1
        ticker = str(row.get("ticker"))
        try:
            paid = yield from _fraction(ticker, row)
            fees_e6 = yield from _fees(ticker)
            rest_e6 = parse_decimal(fee, 6, "fee_cost") - fees_e6
        except BadRecord as error:
            raise Unanswered(f"a settlement cannot be read: {error}") from None
        if paid is None:
            continue
        whole = rest_e6 == paid
        told = f"{ticker}: {format_money(paid)} beyond whole cents, {format_money(rest_e6)} booked as a fee"
        return Answer(told, whole, NO_SETTING, {"settle_whole_cents": whole})
    raise Unanswered("nothing that was settled lately paid parts of a cent")


def _fraction(ticker: str, row: dict[str, Any]) -> Talk[int | None]:
    """Return by how much a payout exceeded whole cents; None if not at all, or unknown."""
    market = (yield from read(Asked("market", "GET", f"/markets/{ticker}"))).get("market")
    value = market.get("settlement_value_dollars") if isinstance(market, dict) else None
    if value is None:
        return None
    yes_e4 = parse_price_e4(value, "settlement_value_dollars")
    yes_e2 = parse_count_e2(row.get("yes_count_fp"), "yes_count_fp")
    no_e2 = parse_count_e2(row.get("no_count_fp"), "no_count_fp")
    return (yes_e2 * yes_e4 + no_e2 * (10_000 - yes_e4)) % CENT_E6 or None


def _fees(ticker: str) -> Talk[int]:
    page = yield from read(Asked("fills", "GET", "/portfolio/fills", (("ticker", ticker), ("limit", "1000"))))
    return sum(parse_decimal(row.get("fee_cost"), 6, "fee_cost") for row in rows(page, "fills"))


# -- what is refused, or killed at once


def retired(_desk: Desk, _venue: Venue) -> Talk[Answer]:
    """Use an operation that no longer exists, on an order that never existed."""
    path = "/portfolio/orders/00000000-0000-4000-8000-000000000000"
    told = yield Ask(Asked("retired", "DELETE", path, (), b"", requests.CHEAP), "cancel")
    return Answer(f"the old cancel was answered {said(told.reply)}", told.reply.status == 410)


def client_ids(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Use ids that should be refused."""
    wanted = {"with a dot": "probe.1", "of 65 characters": "p" * 65}
    answers: dict[str, str] = {}
    refused = True
    for what, own in wanted.items():
        placed = yield from desk.place(
            venue.main, client_order_id=own, count_e2=venue.main.least_e2, time_in_force="immediate_or_cancel"
        )
        answers[what] = said(placed.reply)
        refused = refused and placed.reply.status == 400
    return Answer("; ".join(f"{what}: {answer}" for what, answer in answers.items()), refused)


def unfilled(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Have an immediate-or-cancel order get nothing."""
    placed = yield from desk.place(venue.main, time_in_force="immediate_or_cancel")
    good(Asked("create", "POST", ORDERS), placed.reply)
    if placed.created is None or placed.created.remaining_e2 is None:
        raise Unanswered("the answer has no remaining_count")
    full = placed.created.remaining_e2 != 0
    left = format_count(placed.created.remaining_e2)
    return Answer(f"remaining_count {left}", not full, NO_SETTING, {"ioc_remaining_full": full})


def killed(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Have a fill-or-kill order killed, and use its id again."""
    first = yield from desk.place(venue.main, time_in_force="fill_or_kill")
    if first.reply.status != 409:
        raise Unanswered(f"it was answered {said(first.reply)} instead of being killed")
    again = yield from desk.place(venue.main, client_order_id=first.client_order_id)
    used = _exists(again)
    return Answer(
        f"killed: {said(first.reply)}; its id again: {said(again.reply)}",
        used and "fill_or_kill_insufficient_resting_volume" in said(first.reply),
        NO_SETTING,
        {"killed_fok_uses_id": used},
    )


def reduce_only(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Reduce a position that does not exist."""
    placed = yield from desk.place(venue.main, time_in_force="immediate_or_cancel", reduce_only=True)
    refused = _refused(placed)
    return Answer(
        said(placed.reply), not refused, NO_SETTING, {"reduce_only_without_position_refused": refused}
    )


def after_close(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Place an order in a market that has closed."""
    if venue.closed is None:
        raise Unanswered("no market is listed as closed")
    ticker, shard = venue.closed
    spot = Spot(ticker, shard, "", LOW_E4, HIGH_E4, 0, False)
    placed = yield from desk.place(spot, time_in_force="immediate_or_cancel")
    if not _refused(placed):
        raise Unanswered(f"{ticker}: {said(placed.reply)}")
    code = (replies.error_code(placed.reply.body) or "").partition(":")[0]
    return Answer(
        f"{ticker}: {said(placed.reply)}", code == "market_inactive", NO_SETTING, {"code_after_close": code}
    )


def post_only(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Place a post-only order that would trade."""
    spot = venue.main
    placed = yield from desk.place(spot, price_e4=spot.take_e4, count_e2=spot.least_e2)
    words = said(placed.reply)
    return Answer(words, placed.reply.status == 400 and "post only cross" in words)


# -- what rests for a moment


def over_decrease(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Decrease an order by more than rests, and one to nothing."""
    placed = yield from desk.rest(venue.main)
    by = yield from _decrease(desk, placed, {"reduce_by": "99.00"})
    refused = by.status == 400
    if not refused and by.status != 200:
        raise Unanswered(f"the decrease was answered {said(by)}")
    to = by
    if refused:
        to = yield from _decrease(desk, placed, {"reduce_to": "0.00"})
    state = (yield from _until(desk, placed.order_id, "resting")) or "resting"
    return Answer(
        f"by more than rests: {said(by)}; down to nothing: {said(to)}, then {state}",
        not refused and state == "canceled",
        NO_SETTING,
        {"over_decrease_refused": refused},
    )


def _decrease(desk: Desk, placed: Placed, wish: dict[str, str]) -> Talk[Any]:
    body = {**wish, "exchange_index": placed.spot.shard, "market_ticker": placed.spot.ticker}
    path = f"{ORDERS}/{placed.order_id}/decrease"
    reply = yield from desk.write(
        Asked("decrease", "POST", path, (), _JSON.encode(body), requests.COST, placed.spot.shard)
    )
    return reply


def wrong_shard(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Cancel an order without saying on which shard it is."""
    if venue.elsewhere is not None:
        placed = yield from desk.rest(venue.elsewhere)
        reply = yield from desk.cancel(placed.order_id, routed=False)
        how = f"unrouted, of an order on shard {venue.elsewhere.shard}"
    else:
        placed = yield from desk.rest(venue.main)
        reply = yield from desk.cancel(placed.order_id, shard=venue.main.shard + 1)
        how = f"on shard {venue.main.shard + 1}, of an order on shard {venue.main.shard}"
    if reply.status not in (200, 404):
        raise Unanswered(f"the cancel was answered {said(reply)}")
    missed = reply.status == 404
    right = yield from desk.cancel(placed.order_id) if missed else _same(reply)
    return Answer(
        f"{how}: {said(reply)}; with its shard: {said(right)}",
        missed and right.status == 200,
        NO_SETTING,
        {"wrong_shard_cancel_404": missed},
    )


def _same(reply: Any) -> Talk[Any]:
    yield Pause(0)
    return reply


def balance_at_rest(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Read the balance before and after an order rests."""
    spot = venue.main
    before = yield from cash()
    placed = yield from desk.rest(spot)
    yield from desk.shown(placed.order_id)
    after = yield from cash()
    less_e6 = before.get(spot.shard, 0) - after.get(spot.shard, 0)
    taken = less_e6 == LOW_E4 * 100
    if less_e6 and not taken:
        raise Unanswered(f"the balance moved by {format_money(-less_e6)} meanwhile: something else happened")
    return Answer(
        f"less by {format_money(less_e6)}", not taken, NO_SETTING, {"balance_reduced_by_resting": taken}
    )


def admission(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Rest on both sides of a market orders that cost more than the cash together, but less each."""
    spot = venue.admission
    if spot is None:
        raise Unanswered("no shard has both cash and a market that fits")
    if venue.resting.get(spot.shard):
        raise Unanswered(f"other orders rest on shard {spot.shard}")
    count_e2 = _more_than_half_e2(venue, spot)
    yield from desk.rest(spot, count_e2=count_e2)
    second = yield from desk.place(spot, side="ask", price_e4=HIGH_E4, count_e2=count_e2)
    if not _refused(second) and second.reply.status != 201:
        raise Unanswered(f"the second order was answered {said(second.reply)}")
    by_sum = _refused(second)
    return Answer(
        f"each for 55 % of the cash of shard {spot.shard}: 201, then {said(second.reply)}",
        by_sum,
        "nothing: the gateway counts by the stricter rule, the sum",
        {"resting_value": "sum" if by_sum else "max"},
    )


def _more_than_half_e2(venue: Venue, spot: Spot) -> int:
    return venue.cash_e6[spot.shard] * 55 // 100 // LOW_E4


def _admission_cost(venue: Venue) -> int:
    spot = venue.admission
    return 0 if spot is None else 2 * _more_than_half_e2(venue, spot) * LOW_E4


def amend(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Amend an order's end alone, then its price."""
    placed = yield from desk.rest(venue.main)
    queue = Asked(
        "queue", "GET", f"/portfolio/orders/{placed.order_id}/queue_position", (), b"", requests.CHEAP
    )
    before = yield Ask(queue)
    first = yield from desk.amend(placed, LOW_E4, before.now_ms // 1000 + 30)
    moved = queue._replace(path=f"/portfolio/orders/{first.order_id}/queue_position")
    after = yield Ask(moved)
    kept = before.reply.status == after.reply.status == 200 and _queue(after.reply) <= _queue(before.reply)
    now = Placed(placed.client_order_id, placed.spot, placed.reply, first, placed.at_ms)
    second = yield from desk.amend(now, LOW_E4 + TICK_E4, before.now_ms // 1000 + 30)
    same = placed.order_id == first.order_id == second.order_id
    return Answer(
        f"the order id is {'the same' if same else 'another one'}; an amend of the time alone "
        f"{'keeps' if kept else 'loses'} its place",
        same and kept,
        NO_SETTING,
        {"amend_keeps_id": same},
    )


def _queue(reply: Any) -> int:
    try:
        return parse_count_e2(replies.members(reply.body).get("queue_position_fp"), "queue_position_fp")
    except BadRecord:
        return 0


def lease(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Let an order end by itself, later than first set."""
    placed = yield from desk.rest(venue.main, life_s=2)
    first_s = placed.at_ms // 1000 + 2
    last_s = first_s + 2
    amended = yield from desk.amend(placed, LOW_E4, last_s)
    while desk.now_ms <= last_s * 1000 + PATIENCE_MS:
        seen = yield from desk.seen(amended.order_id)
        if seen is not None and seen.status != "resting":
            early = desk.now_ms < last_s * 1000
            told = f"{seen.status} when looked {desk.now_ms / 1000 - last_s:+.1f} s from its new end"
            return Answer(
                told,
                not early,
                "nothing" if not early else "do not rest orders: renewing leases does not work",
            )
        yield Pause(POLL_MS)
    return Answer(
        f"still resting {PATIENCE_MS // 1000} s after its expiration_time",
        False,
        "do not rest orders: a lease does not end them",
    )


def cancelled_id(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Use the id of a cancelled order again."""
    placed = yield from desk.rest(venue.main)
    reply = yield from desk.cancel(placed.order_id)
    if reply.status != 200:
        raise Unanswered(f"the cancel was answered {said(reply)}")
    dead = yield from desk.cancel(placed.order_id)
    again = yield from desk.place(venue.main, client_order_id=placed.client_order_id)
    used = _exists(again)
    return Answer(
        f"{said(again.reply)}; a second cancel of that order: {said(dead)}",
        used and dead.status == 404,
        NO_SETTING,
        {"client_order_id_scope": "recent_30d" if used else "open_only"},
    )


def read_lag(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Look for orders as soon as they are accepted."""
    longest_ms, late = 0, 0
    for _ in range(LAG_TRIES):
        placed = yield from desk.rest(venue.main)
        looked = 0
        while (yield from desk.seen(placed.order_id)) is None:
            looked += 1
            if desk.now_ms - placed.at_ms > PATIENCE_MS:
                raise Unanswered(f"an order was not shown within {PATIENCE_MS // 1000} s")
            yield Pause(10)
        if looked:
            late += 1
            longest_ms = max(longest_ms, desk.now_ms - placed.at_ms)
        yield from desk.clear()
    fine = longest_ms <= READ_LAG_MS
    return Answer(
        f"{late} of {LAG_TRIES} orders were not shown at once, the last after {longest_ms} ms",
        fine,
        f"nothing: the gateway allows {READ_LAG_MS // 1000} s"
        if fine
        else "do not trade: lists are later than allowed",
        {"read_lag_ms": longest_ms},
    )


def first_frames(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Subscribe to the account's own orders while one rests."""
    placed = yield from desk.rest(venue.main)
    told = yield Listen(("user_orders",), venue.main.ticker, QUIET_MS)
    yield Hush()
    shown = any(
        frame.get("type") == "user_order" and _member(frame, "order_id") == placed.order_id
        for frame in told.frames
    )
    return Answer(
        "the order that rests is sent first" if shown else "nothing is sent first",
        not shown,
        NO_SETTING,
        {"user_orders_initial_snapshot": shown},
    )


# -- what is bought


def filled_id(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Use the id of a filled order again, for one that cannot trade."""
    placed = yield from desk.take(venue.main, venue.main.least_e2)
    at_once = yield from desk.place(venue.main, client_order_id=placed.client_order_id)
    yield from desk.clear()
    yield from desk.shown(placed.order_id)
    later = at_once
    if _exists(at_once):
        later = yield from desk.place(venue.main, client_order_id=placed.client_order_id)
    refused = _exists(at_once) and _exists(later)
    return Answer(
        f"at once {said(at_once.reply)}, once the order is listed {said(later.reply)}",
        refused,
        "KALSHI_BUS_GATEWAY_RESEND=yes is safe on this account"
        if refused
        else "KALSHI_BUS_GATEWAY_RESEND=no: an order that was sent twice may fill twice",
        {"client_order_id_scope": "recent_30d" if refused else "open_only"},
    )


def states_of_a_fill(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Hear what is reported about an order that fills at once."""
    spot = venue.main
    yield Listen(("user_orders",), spot.ticker)
    placed = yield from desk.take(spot, spot.least_e2)
    told = yield Hear(frozenset({"user_order"}), HEAR_MS)
    more = yield Hear(frozenset({"nothing more"}), QUIET_MS)
    yield Hush()
    states = [
        str(_member(frame, "status"))
        for frame in told.frames + more.frames
        if frame.get("type") == "user_order" and _member(frame, "order_id") == placed.order_id
    ]
    if not states:
        raise Unanswered("nothing was told of the order")
    first = states[0] == "resting"
    return Answer(", then ".join(states), not first, NO_SETTING, {"resting_before_immediate_fill": first})


def fill_and_trade(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Hear, repeatedly, whether the own fill or the public trade comes first."""
    spot = venue.main
    yield Listen(("fill", "trade"), spot.ticker)
    firsts: list[str] = []
    while len(firsts) < FILLS and len(set(firsts)) < 2:
        placed = yield from desk.take(spot, spot.least_e2)
        told = yield Hear(frozenset({"fill", "trade"}), HEAR_MS)
        first = _first(told.frames, placed.order_id)
        if first is None:
            raise Unanswered("fill and trade of an order were not both told")
        firsts.append(first)
    yield Hush()
    always = "random" if len(set(firsts)) == 2 else {"fill": "first", "trade": "last"}[firsts[0]]
    told_in = {
        "random": "either comes first",
        "first": "the fill comes first",
        "last": "the trade comes first",
    }
    return Answer(
        f"{told_in[always]} ({len(firsts)} fills)",
        always == "random",
        NO_SETTING,
        {"fill_before_trade": always},
    )


def _first(frames: tuple[Frame, ...], order_id: str) -> str | None:
    trades = {
        _member(frame, "trade_id")
        for frame in frames
        if frame.get("type") == "fill" and _member(frame, "order_id") == order_id
    }
    kinds = [
        str(frame["type"])
        for frame in frames
        if frame.get("type") in ("fill", "trade") and _member(frame, "trade_id") in trades
    ]
    return kinds[0] if {"fill", "trade"} <= set(kinds) else None


def grid(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Read the balance after a fill whose cost is not in whole cents."""
    spot = venue.main
    if spot.whole:
        raise Unanswered(f"{spot.ticker} trades whole contracts only")
    moves_e6: list[int] = []
    while len(moves_e6) < GRID_FILLS and not any(moved_e6 % CENT_E6 for moved_e6 in moves_e6):
        before_e6 = after_e6 = (yield from cash())[spot.shard]
        yield from desk.take(spot, 1)
        waited_ms = 0
        while after_e6 == before_e6 and waited_ms < PATIENCE_MS:
            after_e6 = (yield from cash())[spot.shard]
            yield Pause(0 if after_e6 != before_e6 else POLL_MS)
            waited_ms += POLL_MS
        moves_e6.append(after_e6 - before_e6)
    direct = any(moved_e6 % CENT_E6 for moved_e6 in moves_e6)
    return Answer(
        f"a fill of 0.01 contract moved the balance by {format_money(moves_e6[-1])}: as of "
        f"{'a direct member' if direct else 'one behind an intermediary'}",
        direct,
        "nothing: fees are as the list of fills says",
        {"member": "direct" if direct else "intermediary"},
    )


def group(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Reach the limit of an order group exactly."""
    spot = venue.main
    wish = {"contracts_limit": 1, "exchange_index": spot.shard}
    asked = Asked(
        "group", "POST", "/portfolio/order_groups/create", (), _JSON.encode(wish), requests.COST, spot.shard
    )
    made = good(asked, (yield from desk.write(asked)))
    group_id = str(made.get("order_group_id"))
    try:
        yield from desk.take(spot, 100, order_group_id=group_id)
        after = yield from desk.place(spot, order_group_id=group_id)
        yield from desk.clear()
    finally:
        gone = Asked(
            "group",
            "DELETE",
            f"/portfolio/order_groups/{group_id}",
            (("exchange_index", str(spot.shard)),),
            b"",
            2,
        )
        yield from desk.write(gone)
    triggered = _refused(after)
    if not triggered and after.reply.status != 201:
        raise Unanswered(f"the next order of the group was answered {said(after.reply)}")
    return Answer(
        f"{'triggered' if triggered else 'goes on'}: the next order of the group {said(after.reply)}",
        not triggered,
        "nothing: the gateway uses no order groups",
        {"group_triggers_when_met": triggered},
    )


def self_trade(desk: Desk, venue: Venue) -> Talk[Answer]:
    """Meet an order of our own with self-trade prevention `maker`."""
    spot = venue.main
    inside_e4 = spot.ask_e4 - TICK_E4
    if inside_e4 <= spot.bid_e4:
        raise Unanswered(f"{spot.ticker}: no room inside the spread: name a market with --market")
    own = yield from desk.rest(spot, side="ask", price_e4=inside_e4, count_e2=spot.least_e2)
    yield Listen(("user_orders", "fill"), spot.ticker)
    taken = yield from desk.take(spot, spot.least_e2, self_trade_prevention_type="maker")
    told = yield Hear(frozenset({"user_order", "fill"}), HEAR_MS)
    more = yield Hear(frozenset({"nothing more"}), QUIET_MS)
    yield Hush()
    seen: list[str] = []
    for frame in told.frames + more.frames:
        if frame.get("type") == "user_order" and _member(frame, "order_id") == own.order_id:
            seen.append("cancel" if _member(frame, "status") == "canceled" else "other")
        elif frame.get("type") == "fill" and _member(frame, "order_id") == taken.order_id:
            seen.append("fill")
    if not {"cancel", "fill"} <= set(seen):
        raise Unanswered("cancel and fill were not both told: another order was met")
    first = seen.index("cancel") < seen.index("fill")
    return Answer(
        "the cancel is told before the fill" if first else "the fill is told before the cancel",
        first,
        "nothing: the gateway's orders are taker_at_cross",
        {"maker_cancel_before_fill": first},
    )


# -- the last


def cancel_all(catch_ms: int) -> Callable[[Desk, Venue], Talk[Answer]]:
    """Cancel all, then place an order; watch it for `catch_ms`."""

    def ask(desk: Desk, venue: Venue) -> Talk[Answer]:
        if any(venue.resting.values()):
            raise Unanswered("other orders of the account rest: they would be cancelled, too")
        reply = yield from desk.write(requests.cancel_all())
        if reply.status not in (200, 204):
            raise Unanswered(f"the cancel of all was answered {said(reply)}")
        placed = yield from desk.rest(venue.main)
        yield from desk.shown(placed.order_id)
        until_ms = desk.now_ms + min(catch_ms, 25_000)
        caught = False
        while True:
            seen = yield from desk.seen(placed.order_id)
            caught = seen is not None and seen.status != "resting"
            if caught or desk.now_ms >= until_ms:
                break
            yield Pause(POLL_MS)
        empty = reply.status == 204 and not reply.body
        return Answer(
            f"{said(reply)}{' without a body' if empty else ''}; an order thereafter "
            f"{'was cancelled, too' if caught else 'rests'}",
            empty and not caught,
            "nothing: the gateway never cancels all",
            {"cancel_all_catches_later": caught},
        )

    return ask


# -- helpers


def _member(frame: Frame, name: str) -> object:
    message = frame.get("msg")
    return message.get(name) if isinstance(message, dict) else None


def _exists(placed: Placed) -> bool:
    """Whether an id was refused as used. Raises Unanswered if neither refused for that nor accepted."""
    words = said(placed.reply)
    if placed.reply.status == 409 and replies.ALREADY_EXISTS in words:
        return True
    if placed.reply.status in (200, 201):
        return False
    raise Unanswered(f"the order was answered {words}")


def _refused(placed: Placed) -> bool:
    return placed.reply.status is not None and 400 <= placed.reply.status < 500 and placed.reply.status != 429


def _until(desk: Desk, order_id: str, state: str) -> Talk[str | None]:
    """Return an order's state once it has left a given one; None if it stays there."""
    waited_ms = 0
    while waited_ms < PATIENCE_MS:
        seen = yield from desk.seen(order_id)
        if seen is not None and seen.status != state:
            return seen.status
        yield Pause(POLL_MS)
        waited_ms += POLL_MS
    return None


def questions(catch_ms: int = CATCH_MS) -> tuple[Question, ...]:
    """Return all questions in the order in which they are asked."""
    return (
        Question(
            "signatures", "how old a signature may be", "refused 30 s after it was signed", _free, signatures
        ),
        Question("netting", "whether collateral is returned", "off unless asked for", _free, netting),
        Question(
            "settlements",
            "what a payout of parts of a cent becomes",
            "whole cents are paid, the rest is a fee",
            _free,
            settlements,
        ),
        Question("retired", "whether the old order operations are gone", "410", _free, retired),
        Question(
            "attestation",
            "whether the account may trade Sports, Elections, Entertainment",
            "403 once the attestation is over, else as ever",
            _resting(1),
            attestation,
        ),
        Question(
            "client_ids",
            "which client order ids are refused",
            "a dot, more than 64 characters: 400",
            _resting(2),
            client_ids,
        ),
        Question(
            "unfilled", "remaining_count of an IOC order that got nothing", "0.00", _resting(1), unfilled
        ),
        Question(
            "killed",
            "whether a killed FOK order uses up its id",
            "409, and so does its id again",
            _resting(2),
            killed,
        ),
        Question("reduce_only", "reduce-only without a position", "201 with zeros", _resting(1), reduce_only),
        Question("after_close", "an order after the close", "400 market_inactive", _resting(1), after_close),
        Question(
            "over_decrease", "a decrease by more than rests", "all of it ends", _resting(1), over_decrease
        ),
        Question(
            "wrong_shard",
            "a cancel that does not say the shard",
            "404, as of an order that is over",
            _resting(1),
            wrong_shard,
        ),
        Question(
            "balance_at_rest",
            "whether a resting order takes cash",
            "not before it is filled",
            _resting(1),
            balance_at_rest,
        ),
        Question(
            "amend",
            "an amended order",
            "the same id; by the time alone it keeps its place",
            _resting(2),
            amend,
        ),
        Question(
            "lease",
            "the end of an order by expiration_time, moved by an amend",
            "at its new end",
            _resting(1),
            lease,
        ),
        Question(
            "cancelled_id",
            "the id of a cancelled order again, and a second cancel",
            "409 order_already_exists; 404",
            _resting(2),
            cancelled_id,
        ),
        Question(
            "read_lag",
            "how late orders are shown",
            f"{READ_LAG_MS // 1000} s at most",
            _resting(LAG_TRIES),
            read_lag,
        ),
        Question("first_frames", "what user_orders begins with", "nothing", _resting(1), first_frames),
        Question(
            "admission",
            "both sides of a market for more than the cash, each for less",
            "the second is refused: the sum counts",
            _admission_cost,
            admission,
        ),
        Question(
            "post_only", "a post-only order that would trade", "400 post only cross", _bought(1), post_only
        ),
        Question(
            "filled_id",
            "the id of a filled order again",
            "409, but nothing is built on it",
            _bought(1, resting=2),
            filled_id,
        ),
        Question(
            "states_of_a_fill",
            "what user_orders tells of an order that fills at once",
            "executed",
            _bought(1),
            states_of_a_fill,
        ),
        Question(
            "fill_and_trade",
            "own fill and public trade: which is told first",
            "either",
            _bought(FILLS),
            fill_and_trade,
        ),
        Question("grid", "the smallest step of a balance", "hundredths of a cent", _bought(GRID_FILLS), grid),
        Question(
            "self_trade",
            "self-trade prevention maker: cancel or fill first",
            "the cancel",
            _bought(2),
            self_trade,
        ),
        Question(
            "group",
            "an order group whose limit is met exactly",
            "it goes on",
            _bought(1, 100, resting=1),
            group,
        ),
        Question(
            "cancel_all",
            "a cancel of all, and an order thereafter",
            "204 without a body; the order rests, mostly",
            _resting(1),
            cancel_all(catch_ms),
        ),
    )
