"""How a request is carried out, and answered, when order faults hit it.

The exchange knows nothing about faults: what is late or comes twice is carried out at that time, as if it had
just arrived.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from simulator.floor.exchange import Exchange

from .order_faults import Hit, Subject
from .reads import Reads
from .render import dumps
from .wire import ApiError, Request, Response, error, internal_error

Work = Callable[[], Response]


class Delivery:
    """Carries out requests late, twice or not at all, and spoils answers.

    Args:
        pause: pauses shards: shard -> ms.
        report: told of errors of our own.
    """

    def __init__(
        self,
        exchange: Exchange,
        reads: Reads,
        pause: Callable[[dict[int, int]], None],
        report: Callable[[Exception, str], None],
    ) -> None:
        self._exchange = exchange
        self._reads = reads
        self._pause = pause
        self._report = report

    def subject(self, request: Request, args: Mapping[str, str], account: int) -> Subject:
        """Return what a request of an account is about; `args` are its path's parameters, still quoted."""
        exchange, subject = self._exchange, Subject(account)
        query: dict[str, Any] = dict(request.query)
        index = query.pop("exchange_index", "")
        if index.isascii() and index.isdigit():
            subject.shards.add(int(index[:9]))
        subject.note(query)
        ids = [unquote(args.get("order_id", ""))]
        try:
            body = json.loads(request.body or b"{}")
        except (ValueError, RecursionError):
            body = None
        items = body.get("orders") if isinstance(body, dict) else None
        for members in (body, *(items if isinstance(items, list) else ())):
            subject.note(members)
            if isinstance(members, dict) and isinstance(members.get("order_id"), str):
                ids.append(members["order_id"])
        for order_id in ids if account in exchange.matching.orders else ():
            order = exchange.matching.find(account, order_id)
            if order is not None:
                subject.tickers.add(order.ticker)
                subject.client_order_ids.add(order.client_order_id)
        markets = (exchange.markets.get(ticker) for ticker in subject.tickers)
        subject.shards.update(market.exchange_index for market in markets if market is not None)
        return subject

    def faulty(self, hits: Sequence[Hit], work: Work, about: Subject, now_ms: int) -> Response:
        """Carry out and answer a request as its faults demand.

        Raises:
            ApiError: what `work` raises, unless a fault holds it back.
        """
        of: dict[str, Hit] = {hit.fault.fault: hit for hit in hits}
        if "reads_stale" in of:
            self._reads.stand_still(about.account, now_ms, of["reads_stale"].ms)
        for shard in sorted(about.shards & set(self._exchange.halts.shards)):
            if "shard_lagging" in of:
                self._reads.shard_stands(shard, now_ms, of["shard_lagging"].ms)
            if "shard_paused" in of:
                self._pause({shard: of["shard_paused"].ms})
        if "request_lost" in of:
            return Response(503, b"", cut=True)
        if "error_without_effect" in of:
            return _failed(of["error_without_effect"].fault.status)
        late_ms = sum(of[name].ms for name in ("request_late", "shard_slow") if name in of)
        if late_ms:
            return Response(503, b"", delay_ms=late_ms, later=lambda at_ms: self._arrived(of, work, at_ms))
        return self._arrived(of, work, now_ms)

    def _arrived(self, of: Mapping[str, Hit], work: Work, now_ms: int) -> Response:
        """Carry out a request that has arrived, as often as it did, and spoil the answer."""
        answer = self._once(work, now_ms)
        if "request_twice" in of:
            self._once(work, now_ms)
        if "error_with_effect" in of:
            answer = _failed(of["error_with_effect"].fault.status)
        if "reply_without_id" in of and answer.status < 300:
            answer = replace(answer, body=_without_ids(answer.body))
        late_ms = sum(of[name].ms for name in ("reply_late", "fills_first") if name in of)
        answer = replace(
            answer,
            delay_ms=late_ms,
            cut="reply_lost" in of,
            half="reply_cut" in of,
            doubled="reply_doubled" in of,
        )
        if "request_resent" in of:
            ms = late_ms + of["request_resent"].ms
            return replace(answer, delay_ms=ms, later=lambda at_ms: self._once(work, at_ms))
        if "request_copied" in of:
            answer = replace(answer, copy=(of["request_copied"].ms, lambda at_ms: self._once(work, at_ms)))
        return answer

    def _once(self, work: Work, now_ms: int) -> Response:
        """Carry out a request. Never raises, since it may have come long ago."""
        try:
            self._exchange.advance(now_ms)
            return work()
        except ApiError as refusal:
            return refusal.response
        except Exception as problem:  # noqa: BLE001 (reported)
            self._report(problem, "a request that came late or twice")
            return internal_error()


def _failed(status: int) -> Response:
    """Answer as a proxy in front of an exchange does when the exchange fails."""
    code = "service_unavailable" if status == 503 else "internal_server_error"
    return error(status, code, code.replace("_", " "))


def _without_ids(body: bytes) -> bytes:
    """Remove the order ids from an answer."""
    if not body:
        return body
    found = json.loads(body)
    for members in (found, *(found.get("orders") or ())):
        members.pop("order_id", None)
    return dumps(found).encode()
