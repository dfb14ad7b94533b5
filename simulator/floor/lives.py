"""The life of listings: created, opened, played, closed, determined, disputed, settled, archived."""

from dataclasses import dataclass
from random import Random
from typing import Any, Final

from markets.units import PRICE_ONE_E4, format_price, format_time
from simulator.matching.engine import Matching
from simulator.matching.orders import Reason
from simulator.universe.catalogue import Catalogue, stamp
from simulator.universe.dates import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

from .agenda import Agenda
from .crowd import Crowd
from .grid import GRIDS
from .halts import Activity
from .happenings import Herald
from .latent import Match, Options, Underlying, Window
from .listed import Listings
from .mispricing import PULL_BEFORE_START_MS
from .model import (
    ACTIVE,
    CLOSED,
    DETERMINED,
    DISPUTED,
    FINALIZED,
    INITIALIZED,
    Event,
    Group,
    Market,
    Stage,
)

_DISPUTED_SHARE: Final = 0.03
_REFINE_EVERY_S: Final = 600.0
_ORDERS_END_MS: Final = 250
"""Resting orders are cancelled shortly after the close, before the books are shown empty."""


@dataclass(frozen=True, slots=True)
class FeeChange:
    """A scheduled change of fees, of a series or (with `event`) an override of one event."""

    id: str
    series: str
    event: str | None
    fee_type: str
    multiplier: float
    time_ms: int

    def body(self) -> dict[str, Any]:
        """Return it in the form of the fee change operations."""
        own: dict[str, Any] = {"id": self.id, "scheduled_ts": format_time(self.time_ms)}
        if self.event is None:
            return {
                **own,
                "series_ticker": self.series,
                "fee_type": self.fee_type,
                "fee_multiplier": self.multiplier,
            }
        return {
            **own,
            "series_ticker": self.series,
            "event_ticker": self.event,
            "fee_type_override": self.fee_type,
            "fee_multiplier_override": self.multiplier,
        }


class Lifecycle:
    """Adds groups and leads their events through their lives.

    Args:
        settled_ms: for how long what is settled stays listed.

    Attributes:
        fee_changes: all that were ever scheduled, in order.
    """

    def __init__(
        self,
        agenda: Agenda,
        rng: Random,
        activity: Activity,
        catalogue: Catalogue,
        listings: Listings,
        herald: Herald,
        matching: Matching,
        settled_ms: int = DAY_MS,
    ) -> None:
        self._settled_ms = settled_ms
        self.fee_changes: list[FeeChange] = []
        self._agenda = agenda
        self._rng = rng
        self._activity = activity
        self._catalogue = catalogue
        self._listings = listings
        self._herald = herald
        self._matching = matching
        self._crowd: Crowd

    def follow(self, crowd: Crowd) -> None:
        """Have this crowd quote what opens. To be called before anything is added."""
        self._crowd = crowd

    def add(self, group: Group) -> None:
        """Add a group and plan its life."""
        agenda = self._agenda
        self._listings.add(group)
        group.updated_ms = agenda.now_ms
        for event in group.events:
            agenda.at(event.open_ms, self._open, event)
            if group.kind != "match":
                agenda.at(event.close_ms, self.close, event)
        if group.kind == "match":
            self._plan_play(group)
        self._crowd.plan_tick(group, max(agenda.now_ms, group.events[0].open_ms))
        for event in group.events:
            self._herald.announced("event_created", event, {}, agenda.now_ms)
            self._herald.of_each_market(event, agenda.now_ms, "created")

    def _plan_play(self, group: Group) -> None:
        self._agenda.at(group.start_ms - PULL_BEFORE_START_MS, self._pull, group)
        self._agenda.at(group.start_ms, self._start, group)
        self._agenda.at(group.end_ms, self._end, group)

    def schedule_fees(self) -> None:
        """Plan one change of a series' fees and one override of an event's, within the first hour."""
        start_ms = self._agenda.start_ms
        matches = [g for g in self._listings.matches if g.start_ms > start_ms + HOUR_MS]
        if not matches:
            return
        event, other = matches[0].events[0], matches[-1].events[0]
        changes = [
            FeeChange("fee-1", other.series.ticker, None, "quadratic_with_maker_fees", 1, start_ms + HOUR_MS),
            FeeChange("fee-2", event.series.ticker, event.ticker, "quadratic", 0.5, start_ms + 3 * MINUTE_MS),
        ]
        for change in changes:
            self.fee_changes.append(change)
            self._agenda.at(change.time_ms, self._change_fees, change)

    def _change_fees(self, change: FeeChange, time_ms: int) -> None:
        self._set_fees(change, time_ms)
        self._matching.reprice(time_ms)

    def _set_fees(self, change: FeeChange, time_ms: int) -> None:
        if change.event is None:
            body = self._catalogue.series[change.series].body
            body["fee_type"], body["fee_multiplier"] = change.fee_type, change.multiplier
            body["last_updated_ts"] = stamp(time_ms, change.series)
            return
        event = self._listings.events.get(change.event)
        if event is not None:
            event.fee_override = (change.fee_type, change.multiplier)
            event.values["event_updated"] = stamp(time_ms, event.ticker)
            fields = {"fee_type_override": change.fee_type, "fee_multiplier_override": change.multiplier}
            self._herald.announced("event_fee_update", event, fields, time_ms)

    def refine(self, _subject: None, time_ms: int) -> None:
        """Now and then move a market to a finer grid in place, keeping its quotes (contract 4)."""
        rng = self._rng
        wait_ms = 30_000 + int(1000 * rng.expovariate(1 / _REFINE_EVERY_S))
        self._agenda.at(time_ms + wait_ms, self.refine, None)
        for _ in range(20):
            group = self._listings.groups[rng.randrange(len(self._listings.groups))]
            live = [m for m in group.events[0].markets if m.status == ACTIVE and m.grid.name == "linear_cent"]
            if live and group.kind == "options":
                market = live[rng.randrange(len(live))]
                market.grid = GRIDS["tapered_deci_cent"]
                touched(market.event, time_ms)
                fields = {"price_level_structure": market.grid.name, "price_ranges": market.grid.ranges}
                self._herald.announced("price_level_structure_updated", market, fields, time_ms)
                return

    def _open(self, event: Event, time_ms: int) -> None:
        if event.status != INITIALIZED:
            return
        event.status = ACTIVE
        latent = event.group.latent
        if isinstance(latent, Window):
            asset = latent.asset
            asset.advance_to(time_ms, self._rng)
            latent.strike = round(asset.price, asset.decimals)
            event.values["TARGET"] = f"${latent.strike:,.{asset.decimals}f}"
            event.values["STRIKE"] = f'"floor_strike":{latent.strike},'
            touched(event, time_ms)
            self._herald.of_each_market(
                event, time_ms, "metadata_updated", strike_type="greater_or_equal", floor_strike=latent.strike
            )
        if not event.group.pulled:
            self._crowd.quote_all(event, time_ms)

    def _pull(self, group: Group, time_ms: int) -> None:
        if time_ms < group.start_ms - PULL_BEFORE_START_MS:
            return  # it was postponed
        group.pulled = True
        for event in group.events:
            for market in event.markets:
                market.last_quote_e4 = _quote(market)
                self._crowd.set_quote(market, (0, 0), (PRICE_ONE_E4, 0), time_ms)

    def _start(self, group: Group, time_ms: int) -> None:
        assert isinstance(group.latent, Match)
        if time_ms < group.start_ms:
            return  # it was postponed
        if time_ms >= self._agenda.start_ms and self._not_played(group, time_ms):
            return
        group.latent.advance(max(0.0, (time_ms - group.updated_ms) / 1000), self._rng)
        group.updated_ms = time_ms
        group.latent.started = group.in_play = True
        group.pulled = False
        if time_ms < self._agenda.start_ms:  # play was under way when the exchange began: catch up
            self._crowd.advance_latent(group, min(self._agenda.start_ms, group.end_ms))
        self._crowd.plan_tick(group, max(time_ms, self._agenda.start_ms))
        self._milestone_says(group, "inprogress", time_ms)
        for event in group.events:
            if event.status == ACTIVE:
                self._crowd.quote_all(event, time_ms)

    def _not_played(self, group: Group, time_ms: int) -> bool:
        """Now and then call off or postpone a match at the moment when it should start."""
        chance = self._rng.random()
        if chance < self._activity.void_rate:
            group.void = True
            self._milestone_says(group, "cancelled", time_ms)
            for event in group.events:
                self._close_at(event, time_ms, time_ms)
            return True
        if chance >= self._activity.void_rate + self._activity.postponed_rate:
            return False
        later_ms = (10 + self._rng.randrange(110)) * MINUTE_MS
        group.start_ms += later_ms
        group.end_ms += later_ms
        group.pulled = False
        self._milestone_says(group, "postponed", time_ms)
        if group.milestone is not None:
            group.milestone.body["start_date"] = format_time(group.start_ms)
        self._plan_play(group)
        for event in group.events:
            event.expected_ms += later_ms
            touched(event, time_ms)
            if event.status == ACTIVE:
                self._crowd.quote_all(event, time_ms)
        self._crowd.plan_tick(group, time_ms)
        return True

    def _end(self, group: Group, time_ms: int) -> None:
        assert isinstance(group.latent, Match)
        if time_ms < group.end_ms or group.void:
            return  # it was postponed, or is not going to be played
        group.latent.finish(self._rng)
        group.in_play = False
        group.updated_ms = time_ms
        self._milestone_says(group, "closed", time_ms)
        close_ms = time_ms + 5_000 + self._rng.randrange(40_000)
        close_ms += -close_ms % SECOND_MS
        for event in group.events:
            self._crowd.reprice(event, time_ms)
            self._close_at(event, close_ms, time_ms)

    def _close_at(self, event: Event, close_ms: int, time_ms: int) -> None:
        """Announce an earlier close."""
        event.close_ms = close_ms
        event.values["close"] = format_time(close_ms)
        touched(event, time_ms)
        self._herald.of_each_market(event, time_ms, "close_date_updated", close_ts=close_ms // 1000)
        self._agenda.at(close_ms, self.close, event)

    def _milestone_says(self, group: Group, status: str, time_ms: int) -> None:
        milestone = group.milestone
        if milestone is not None:
            body = milestone.body
            body["details"]["status"] = status
            body["last_updated_ts"] = stamp(time_ms, milestone.id)
            self._listings.restamped(milestone)
            if status == "closed":
                body["end_date"] = format_time(time_ms)

    def close(self, event: Event, time_ms: int) -> None:
        if event.status not in (ACTIVE, INITIALIZED) or time_ms < event.close_ms:
            return
        if event.group.kind == "updown":
            self._crowd.advance_latent(event.group, time_ms)
        event.status = CLOSED
        for market in event.markets:
            self._crowd.set_quote(market, (0, 0), (PRICE_ONE_E4, 0), time_ms)
        self._agenda.at(time_ms + _ORDERS_END_MS, self._end_orders, event)
        for after_ms in (300, 1_900):  # as recorded: two empty snapshots of every book
            self._agenda.at(time_ms + after_ms, self._herald.emptied, event)
        delay = {"updown": 2_000 + self._rng.randrange(8_000), "range": 9 * HOUR_MS, "combo": 1_000}.get(
            event.group.kind, 10_000 + self._rng.randrange(50_000)
        )
        self._agenda.at(time_ms + delay, self.determine, event)

    def _end_orders(self, event: Event, time_ms: int) -> None:
        for market in event.markets:
            self._matching.withdraw_all(market, Reason.CLOSE_CANCEL, time_ms)

    def determine(self, event: Event, time_ms: int) -> None:
        if event.status != CLOSED:
            return  # an intervention came first
        event.status = DETERMINED
        values_e4 = self._values(event)
        event.expiration_value = self._value_of(event)
        for market, value_e4 in zip(event.markets, values_e4, strict=True):
            market.p = value_e4 / PRICE_ONE_E4
            market.value_e4 = value_e4
            market.result = {0: "no", PRICE_ONE_E4: "yes"}.get(value_e4, "scalar")
        touched(event, time_ms)
        self._herald.of_each_market(
            event, time_ms, "determined", determination_ts=time_ms // 1000,
            result=lambda m: m.result, settlement_value=lambda m: format_price(m.value_e4),
        )  # fmt: skip
        if self._rng.random() < _DISPUTED_SHARE:
            self._agenda.at(time_ms + 20_000, self._dispute, event)
        else:
            self._agenda.at(time_ms + event.template.timer_s * 1000, self.settle, event)

    def _values(self, event: Event) -> list[int]:
        """Return what a YES contract of each market is worth, in $0.0001, drawn by the probabilities."""
        rng, latent, activity = self._rng, event.group.latent, self._activity
        if event.group.void:
            quotes = [market.last_quote_e4 or (0, PRICE_ONE_E4) for market in event.markets]
            lowest = [min(-(-bid // 100), ask // 100) for bid, ask in quotes]
            cents = [
                rng.randint(low, max(low, ask // 100)) for low, (_, ask) in zip(lowest, quotes, strict=True)
            ]
            return _in_e4(cents, lowest if event.template.exclusive else None)
        if isinstance(latent, Underlying) and rng.random() < activity.scalar_rate:
            cents = [round(market.p * 100) for market in event.markets]
            return _in_e4(cents, cents if event.template.exclusive else None)
        latent.decide(rng)
        values = [PRICE_ONE_E4 * latent.outcome(market.role) for market in event.markets]
        if (
            isinstance(latent, Options)
            and event.template.exclusive
            and any(values)
            and len(values) > 1
            and rng.random() < activity.dead_heat_rate
        ):
            others = [index for index, value in enumerate(values) if not value]
            values[values.index(PRICE_ONE_E4)] = values[rng.choice(others)] = PRICE_ONE_E4 // 2
        return values

    def _dispute(self, event: Event, time_ms: int) -> None:
        if event.status != DETERMINED:
            return
        event.status = DISPUTED
        touched(event, time_ms)
        self._agenda.at(time_ms + 2 * MINUTE_MS, self.determine_again, event)

    def determine_again(self, event: Event, time_ms: int) -> None:
        if event.status != DISPUTED:
            return
        event.status = DETERMINED
        touched(event, time_ms)
        self._agenda.at(time_ms + event.template.timer_s * 1000, self.settle, event)

    @staticmethod
    def _value_of(event: Event) -> str:
        latent = event.group.latent
        if isinstance(latent, Window):
            return f"{latent.asset.price:.{latent.asset.decimals}f}"
        mean = getattr(latent, "mean", None)
        return "" if mean is None else f"{mean:.2f}"

    def settle(self, event: Event, time_ms: int) -> None:
        if event.status != DETERMINED:
            return
        event.status = FINALIZED
        event.settled_ms = time_ms
        touched(event, time_ms)
        self._herald.of_each_market(event, time_ms, "settled", settled_ts=time_ms // 1000)
        for market in event.markets:
            assert market.value_e4 is not None
            self._matching.settle(market, market.value_e4, time_ms)
        self._agenda.at(time_ms + self._settled_ms, self._archive, event)
        group = event.group
        if all(e.status == FINALIZED for e in group.events):
            now_ms = max(time_ms, self._agenda.start_ms)
            successor = self._catalogue.again(group, now_ms)
            self._listings.end(group)
            if successor is not None:
                self._agenda.at(now_ms + 1_000 + self._rng.randrange(20_000), self._create, successor)

    def _create(self, group: Group, time_ms: int) -> None:
        self._agenda.move_to(time_ms)
        self.add(group)

    def _archive(self, event: Event, _time_ms: int) -> None:
        self._listings.archive(event)

    def bring(self, event: Event, stage: Stage) -> None:
        """Let an event close at once, and go on to be determined, settled, and forgotten ("gone")."""
        now_ms = self._agenda.now_ms
        if event.status in (ACTIVE, INITIALIZED):
            if isinstance(event.group.latent, Match):
                event.group.latent.finish(self._rng)
            event.close_ms = now_ms
            event.values["close"] = format_time(now_ms)
            touched(event, now_ms)
            self._herald.of_each_market(event, now_ms, "close_date_updated", close_ts=now_ms // 1000)
            self.close(event, now_ms)
        if stage in ("determined", "settled", "gone"):
            self.determine(event, now_ms)
        if stage in ("settled", "gone"):
            self.determine_again(event, now_ms)
            self.settle(event, now_ms)
        if stage == "gone":
            self._archive(event, now_ms)


def _in_e4(cents: list[int], lowest: list[int] | None) -> list[int]:
    """Return values in $0.0001; with `lowest` (for an exclusive event) they sum to at most a dollar.

    The excess is taken, cent by cent, from whichever is furthest above its lowest, then from all.
    """
    values = list(cents)
    for floor in [lowest, [0] * len(values)] if lowest is not None else []:
        while sum(values) > 100:
            index = max(range(len(values)), key=lambda i: values[i] - floor[i])
            if values[index] <= floor[index]:
                break
            values[index] -= 1
    return [100 * value for value in values]


def _quote(market: Market) -> tuple[int, int]:
    """Return bid and ask; 0 and a dollar for empty sides."""
    return market.bid_e4 if market.bid_e2 else 0, market.ask_e4 if market.ask_e2 else PRICE_ONE_E4


def touched(event: Event, time_ms: int) -> None:
    """Note a change of metadata, which quotes, trades and the clock are not (contract 7.1)."""
    event.updated_ms = time_ms
    event.values["updated"] = stamp(time_ms, event.ticker)
