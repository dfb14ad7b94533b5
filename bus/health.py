"""Health: one account of the state of a replica, its publisher and the exchange. Pure.

`/health`, op `health`, `/ready`, `/metrics`, the dashboard's strip and the doctor all report what is worked
out here, each in its own shape.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from bus.drift import DriftRow, drift_rows
from bus.process.supervised import Processes, Supervised
from bus.protocol.join import Resync
from bus.protocol.messages import Heartbeat, PublisherHealth, RouteHealth
from bus.protocol.state import Records
from bus.replica import ReplicaStatus
from bus.trading import reasons
from bus.trading.shapes import TraderStatus
from markets.records import Drift, ExchangeStatus
from markets.units import format_time

COMPARING_MOST_S: Final = 60.0
"""An account that has been compared for so long without being equal once needs a person."""

AHEAD_MS: Final = 5_000
"""How far ahead of ours the clock that dates the end of a sweep may be."""


class ShardHealth(msgspec.Struct, frozen=True):
    """Whether a part of the exchange is up and trading."""

    exchange_index: int
    exchange_active: bool | None
    trading_active: bool | None


class ExchangeHealth(msgspec.Struct, frozen=True):
    """The exchange's status, None if unknown. Times in Unix seconds."""

    exchange_active: bool | None
    trading_active: bool | None
    estimated_resume_at: float | None
    shards: tuple[ShardHealth, ...]
    as_of: float


RESYNC_TOLD_MS: Final = 500
"""A loss repaired sooner than this is not worth a sentence to a person; most are."""


class Resyncing(msgspec.Struct, frozen=True):
    """How far the repair of a loss has come (bus.protocol.join.Resync). The last whole state is shown so far.

    `since` in Unix seconds.
    """

    since: float
    seconds: float
    why: str
    step: str
    behind: int | None
    asked: int
    chunks: int
    chunks_total: int

    @property
    def words(self) -> str:
        """All of it in a line."""
        lack = {
            "missing": "messages were lost on the way here",
            "digest": "the content was found to differ from the publisher's",
            "undecodable": "what came could not be read",
            "behind": "more came than could be kept",
            "epoch": "the publisher began anew",
        }.get(self.why, self.why)
        behind = "" if self.behind is None else f", {self.behind:,} messages behind"
        step = {
            "waiting": "nobody could give it yet",
            "asked": "it was asked for",
            "taking": f"{self.chunks:,} of {self.chunks_total:,} parts are in",
        }.get(self.step, self.step)
        return f"{lack}, {self.seconds:.1f} s ago{behind}; {step}"


class Problem(msgspec.Struct, frozen=True):
    """Something that is wrong: a word for programs, a sentence, and what to do about it ("": nothing)."""

    code: str
    text: str
    remedy: str = ""

    @property
    def words(self) -> str:
        """All of it in a line."""
        return f"{self.text} {self.remedy}".strip()


class Health(msgspec.Struct, frozen=True):
    """The state of things at one moment.

    Attributes:
        epoch, seq: position of the state shown; 0 before the first snapshot.
        complete_ms: end of the last complete sweep's fetch, None before one; `age_ms` counts from there.
        stale: the age is beyond the limit, or unknown.
        complete: whether the last sweep fetched all it wanted.
        feed: "joining" (nothing to show yet), "live", "resyncing" or "lost" (nothing is heard).
        resyncing: how far that has come, None unless something is known to be missing.
        proven_seq: the last number in this epoch at which the whole state matched the publisher's, digest for
            digest.
        source: "live" or "replay".
        degraded: streams that could not be brought to agree with the publisher.
        publisher: its own account in the last heartbeat, None before the first.
        exchange: None until the exchange says whether it trades.
        processes: what supervisord says, None if it does not answer.
        drifts: what the exchange sends differently from its documents.
    """

    epoch: int
    seq: int
    complete_ms: int | None
    age_ms: int | None
    stale_after_ms: int
    stale: bool
    complete: bool
    cycle: int
    quarantined: int
    unjoined: int
    feed: str
    source: str
    gaps: int
    resyncs: int
    degraded: tuple[str, ...]
    publisher: PublisherHealth | None
    exchange: ExchangeHealth | None
    processes: Processes | None
    drifts: Mapping[str, Drift]
    resyncing: Resyncing | None = None
    proven_seq: int = 0

    @property
    def word(self) -> str:
        """All of it in a word: "starting" (no data yet), "stale", "resyncing" or "ok"."""
        if not self.epoch or self.stale:
            return "stale" if self.epoch else "starting"
        return "ok" if self.resyncing is None else "resyncing"

    @property
    def age_s(self) -> float | None:
        return None if self.age_ms is None else self.age_ms / 1000

    @property
    def complete_s(self) -> float | None:
        return None if self.complete_ms is None else self.complete_ms / 1000

    def problems(self) -> list[Problem]:
        """Return what is wrong with feed, publisher, data and exchange, worst first."""
        found: list[Problem] = []
        if self.epoch and self.feed == "lost":
            text = "Nothing is heard from the publisher. Shown is the last data it sent."
            found.append(Problem("feed_lost", text))
        elif self.publisher is not None and (problem := publisher_problem(self.publisher)) is not None:
            found.append(problem)
        if self.epoch and self.resyncing is not None and self.resyncing.seconds * 1000 >= RESYNC_TOLD_MS:
            text = f"What is shown is whole, but not the latest: {self.resyncing.words}."
            found.append(Problem("resyncing", text))
        if self.epoch and self.stale:
            found.append(Problem("stale", "The data is old. Nothing in it counts as tradable."))
        if self.degraded:
            streams = ", ".join(self.degraded)
            found.append(Problem("degraded", f"Could not be brought to agree with the publisher: {streams}"))
        exchange = self.exchange
        if exchange is not None and False in (exchange.exchange_active, exchange.trading_active):
            paused = "closed" if exchange.exchange_active is False else "not trading now"
            found.append(Problem("exchange_closed", f"The exchange is {paused}."))
        elif exchange is not None and None in (exchange.exchange_active, exchange.trading_active):
            found.append(Problem("exchange_unknown", "The exchange does not say whether it trades."))
        if self.publisher is not None and not (self.epoch and self.feed == "lost"):
            found += publisher_warnings(self.publisher)
        return found


class HealthAnswer(msgspec.Struct, frozen=True):
    """What `/health` and op `health` say (docs/http-api.md)."""

    status: str
    age_seconds: float | None
    generated_at: float | None
    stale_after_seconds: float
    complete: bool
    market_count: int
    enriched_count: int
    quarantined_count: int
    unjoined_count: int
    epoch: int
    seq: int
    digest: str
    feed: str
    source: str
    gaps: int
    resyncs: int
    degraded: tuple[str, ...]
    publisher: PublisherHealth | None
    exchange: ExchangeHealth | None
    processes: dict[str, Supervised] | None
    drift: tuple[DriftRow, ...] = ()
    drift_more: int = 0
    resyncing: Resyncing | None = None
    proven_seq: int = 0


def health_of(
    state: Records | None,
    replica: ReplicaStatus,
    heartbeat: Heartbeat | None,
    now_ms: int,
    stale_after_ms: int,
    processes: Processes | None = None,
) -> Health:
    """Return the state of things.

    Args:
        state: what readers are shown, which may be behind the replica; None before the first snapshot.
        heartbeat: the last one heard.
        now_ms: the present as the replica has it.
        stale_after_ms: data older than this is stale.
        processes: what supervisord says.
    """
    cycle = state.cycle if state is not None else None
    exchange = state.exchange.get("") if state is not None else None
    complete_ms = cycle.complete_ms if cycle is not None else None
    age_ms = age_of(complete_ms, now_ms)
    return Health(
        epoch=state.epoch if state is not None else 0,
        seq=state.seq if state is not None else 0,
        complete_ms=complete_ms,
        age_ms=age_ms,
        stale_after_ms=stale_after_ms,
        stale=is_stale(age_ms, stale_after_ms),
        complete=cycle is not None and cycle.complete,
        cycle=cycle.cycle if cycle is not None else 0,
        quarantined=cycle.quarantined if cycle is not None else 0,
        unjoined=cycle.unjoined if cycle is not None else 0,
        feed=replica.feed,
        source=replica.source,
        gaps=replica.stats.gaps,
        resyncs=replica.stats.resyncs,
        degraded=replica.degraded,
        publisher=heartbeat.publisher if heartbeat is not None else None,
        exchange=_exchange(exchange) if exchange is not None else None,
        processes=processes,
        drifts=state.drifts if state is not None else {},
        resyncing=_resyncing(replica.resync, now_ms),
        proven_seq=replica.proven_seq,
    )


def _resyncing(resync: Resync | None, now_ms: int) -> Resyncing | None:
    if resync is None:
        return None
    return Resyncing(
        since=(now_ms - resync.for_ms) / 1000,
        seconds=resync.for_ms / 1000,
        why=resync.why,
        step=resync.step,
        behind=resync.behind,
        asked=resync.asked,
        chunks=resync.chunks,
        chunks_total=resync.chunks_total,
    )


def age_of(complete_ms: int | None, now_ms: int) -> int | None:
    """Return the age (ms) of data whose last complete sweep ended then; never negative.

    None before there was one, and if that time lies ahead: a clock was set back, so the age is unknown.
    """
    if complete_ms is None or complete_ms - now_ms > AHEAD_MS:
        return None
    return max(0, now_ms - complete_ms)


def is_stale(age_ms: int | None, stale_after_ms: int) -> bool:
    """Tell whether data is too old, or its age unknown."""
    return age_ms is None or age_ms > stale_after_ms


def answer_of(health: Health, markets: int, books: int, digest: int) -> HealthAnswer:
    """Return health as an answer, with the number of markets and books shown and the state's digest."""
    drift, drift_more = drift_rows(health.drifts)
    return HealthAnswer(
        status=health.word,
        age_seconds=health.age_s,
        generated_at=health.complete_s,
        stale_after_seconds=health.stale_after_ms / 1000,
        complete=health.complete,
        market_count=markets,
        enriched_count=books,
        quarantined_count=health.quarantined,
        unjoined_count=health.unjoined,
        epoch=health.epoch,
        seq=health.seq,
        digest=f"{digest:016x}",
        feed=health.feed,
        source=health.source,
        gaps=health.gaps,
        resyncs=health.resyncs,
        degraded=health.degraded,
        publisher=health.publisher,
        exchange=health.exchange,
        processes=None if health.processes is None else dict(health.processes),
        drift=drift,
        drift_more=drift_more,
        resyncing=health.resyncing,
        proven_seq=health.proven_seq,
    )


def publisher_problem(account: PublisherHealth) -> Problem | None:
    """Return what is wrong according to the publisher, None if nothing is."""
    remedy = account.remedy or ""
    if account.cause is not None:
        text = f"{_consequence(account)}, since {account.error or account.cause}."
        return Problem(_code(account), text, remedy)
    detail = f" ({account.error})" if account.error else ""
    if account.key == "refused":
        return Problem("key_refused", f"The exchange refuses the API key: no new data comes in.{detail}")
    if not account.exchange_reachable and account.sweep not in ("starting", "waiting_for_key"):
        return Problem("exchange_unreachable", f"The publisher cannot reach the exchange.{detail}")
    return Problem("publisher_error", f"The publisher's last sweep failed.{detail}") if detail else None


def _consequence(account: PublisherHealth) -> str:
    """Say what the publisher's trouble means for the data."""
    if account.sweep == "complete":
        refused = account.key == "refused"
        return (
            "There is no live stream, prices are polled" if refused else "A request fails and is tried again"
        )
    return "Only a part of the data comes in" if account.sweep == "partial" else "No data comes in"


def _code(account: PublisherHealth) -> str:
    if account.key == "refused":
        return "key_refused"
    return "publisher_error" if account.exchange_reachable else "exchange_unreachable"


def publisher_warnings(account: PublisherHealth) -> list[Problem]:
    """Return what the publisher says is wrong without stopping anything."""
    found = [Problem("warning", text) for text in account.warnings]
    if account.stream in ("down", "refused") and account.stream_error is not None:
        text = f"There is no live stream, prices are polled: {account.stream_error}."
        found.append(Problem("stream_down", text))
    if account.sweep in ("complete", "partial"):  # otherwise more is wrong than one route beside the prices
        found += map(_route_problem, account.routes)
    return found


def progress(account: PublisherHealth) -> str:
    """Say how far the first reading has come."""
    pages = f"{account.pages:,} page{'' if account.pages == 1 else 's'}"
    return f"reading the exchange for the first time: {pages}, {account.markets_read:,} markets so far"


def _route_problem(route: RouteHealth) -> Problem:
    last = "was never read" if route.read_ms is None else f"was last read at {format_time(route.read_ms)}"
    text = f"{route.error}. Prices are not concerned; what it brings {last}."
    return Problem("route_failed", text)


_TRADER_REMEDIES: Final = {
    reasons.HALTED: "It tries again by itself once the journal can be written; if the journal does not"
    " add up, kalshi-bus trader verify says where.",
    reasons.DRIFT: "Look at the account at the exchange; if it is right, adopt what it lists.",
    reasons.OTHER_ACCOUNT: "Start the trader with the settings of that account, or the gateway with its own.",
    reasons.RECONCILING: "kalshi-bus trader reconcile says what differs.",
}
"""Why a trader may need a person, worst first. A kill, a pause and a daily loss are wanted."""


def trader_problems(status: TraderStatus) -> list[Problem]:
    """Return why a trader does not trade, and will not without a person.

    What data, exchange and order gateway lack is said elsewhere.
    """
    account, found = status.exchange_account, list[Problem]()
    since = None if account is None else account.comparing_since
    for word, remedy in _TRADER_REMEDIES.items():
        if word not in status.reasons:
            continue
        if word == reasons.RECONCILING and (since is None or status.now - since < COMPARING_MOST_S):
            continue
        said = f": {status.error}" if status.error is not None and not found else ""
        text = f"The trader trades nothing: {reasons.why_refused(word)}{said}."
        found.append(Problem(f"trader_{word}", text, remedy))
    return found


def process_problems(processes: Mapping[str, Supervised] | None) -> list[Problem]:
    """Return what supervisord says is wrong with processes."""
    return [
        Problem(f"process_{name}", f"The {name} process {process.trouble}.")
        for name, process in (processes or {}).items()
        if process.trouble is not None
    ]


def _exchange(status: ExchangeStatus) -> ExchangeHealth:
    return ExchangeHealth(
        exchange_active=status.exchange_active,
        trading_active=status.trading_active,
        estimated_resume_at=None if status.resume_ms is None else status.resume_ms / 1000,
        shards=tuple(ShardHealth(*shard) for shard in status.shards),
        as_of=status.as_of_ms / 1000,
    )
