"""Compares what sources say with what markets show, a few values at a time, and keeps the trials on disk.

It runs in the worker's thread: `look` returns after a millisecond or two, however many values there are, and
continues where it stopped. A file that cannot be read is set aside and reported. If the file cannot be
written, only this process's trials are lost when it ends.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from bus.files import open_regular
from bus.protocol.state import State
from markets.book import top_of_quote
from markets.fees import fee_schedule, fill_fee
from markets.records import FairValue, Status
from markets.units import COUNT_ONE_E2, MONEY_ONE_E6, PRICE_ONE_E4

from .trial import Price, Trials

log = structlog.get_logger()

SLICE: Final = 500
"""How many values are compared at once: that takes two or three milliseconds."""

ROUND_MS: Final = 12_000
"""Time between the starts of two rounds over all values; prices are swept at the same pace."""

SAVE_MS: Final = 60_000


class Judge:
    """Keeps the trials of the sources; `accepted` is their outcome so far. `path` None: in memory only."""

    def __init__(self, path: Path | None) -> None:
        self.trials = Trials()
        self._path = path
        self._round: Iterator[None] | None = None
        self._round_ms = self._save_ms = 0
        self._unsaved = False
        self.accepted: frozenset[str] = frozenset()
        if path is not None:
            self._load(path)
        self.accepted = self.trials.accepted()

    def _load(self, path: Path) -> None:
        try:
            with open_regular(path) as file:
                self.trials = msgspec.msgpack.decode(file.read(), type=Trials)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("fair_values.trials_unread", path=str(path), error=str(error))
            try:
                path.replace(path.with_name(f"{path.name}.unread"))
            except OSError:
                self._path = None  # a file that cannot be set aside is not overwritten either

    def look(
        self,
        state: Callable[[], State],
        sources: Sequence[Mapping[str, FairValue]],
        now_ms: int,
        steady_ms: int,
    ) -> None:
        """Continue the round over everything that the sources say, or begin the next when it is time."""
        if self._round is None:
            if steady_ms - self._round_ms < ROUND_MS and self._round_ms:
                return
            self._round_ms = steady_ms
            self._round = self._go_round(state, sources, now_ms)
        if next(self._round, self) is self:
            self._round = None
            self.accepted = self.trials.accepted()
        if self._unsaved and steady_ms - self._save_ms >= SAVE_MS:
            self._save_ms = steady_ms
            self.save()

    def _go_round(
        self, now: Callable[[], State], sources: Sequence[Mapping[str, FairValue]], now_ms: int
    ) -> Iterator[None]:
        trials, mids, state = self.trials, {}, now()
        for index, ticker in enumerate(sorted(trials.waiting())):
            if index % SLICE == SLICE - 1:
                yield
                state = now()  # it may belong to another epoch by now
            market = state.markets.get(ticker)
            if market is None:
                continue
            if market.settlement_value_e4 is not None and market.result:
                trials.settle(ticker, market.settlement_value_e4 / PRICE_ONE_E4)
                self._unsaved = True
            elif market.result in ("yes", "no"):
                trials.settle(ticker, float(market.result == "yes"))
                self._unsaved = True
            elif (price := price_of(state, ticker, now_ms)) is not None and price.mid is not None:
                mids[ticker] = price.mid
        trials.look(mids, now_ms)
        for values in sources:
            for index, value in enumerate(tuple(values.values())):
                if index % SLICE == SLICE - 1:
                    yield
                    state = now()
                price = price_of(state, value.ticker, now_ms)
                if price is not None:
                    trials.say(value.source, value.ticker, value.probability, price, now_ms)
                    self._unsaved = True

    def save(self) -> None:
        """Write the trials, completely or not at all."""
        path = self._path
        if path is None or not self._unsaved:
            return
        beside = path.with_name(f".{path.name}.new")
        try:
            with beside.open("wb") as file:
                file.write(msgspec.msgpack.encode(self.trials))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            self._unsaved = False
        except OSError as error:
            log.warning("fair_values.trials_unsaved", path=str(path), error=str(error))


def price_of(state: State, ticker: str, now_ms: int) -> Price | None:
    """Return what a market shows; None if it is unknown, does not trade, or its fees are unknown."""
    market, quote = state.markets.get(ticker), state.quotes.get(ticker)
    if market is None or quote is None or quote.status is not Status.ACTIVE or ticker in state.suspects:
        return None
    event = state.events.get(market.event_ticker)
    fees = None if event is None else fee_schedule(event, state.series.get(event.series_ticker))
    if fees is None:
        return None
    best = top_of_quote(quote)
    bid_e4, ask_e4 = best.yes_bid and best.yes_bid[0], best.yes_ask and best.yes_ask[0]
    at_e4 = min(max(ask_e4 or PRICE_ONE_E4 // 2, 1), PRICE_ONE_E4 - 1)
    fee = fill_fee(fees, at_e4, COUNT_ONE_E2, time_ms=now_ms)
    return Price(
        market.event_ticker,
        None if bid_e4 is None else bid_e4 / PRICE_ONE_E4,
        None if ask_e4 is None else ask_e4 / PRICE_ONE_E4,
        fee.total_e6 / MONEY_ONE_E6,
    )
