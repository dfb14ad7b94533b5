"""What is held of the exchange, and what a sweep changes in it: a commit's changes, in a fixed order.

`Held.diff` runs in the bus thread at commit time and compares with the state as it is then, so that whatever
was streamed meanwhile counts. Nothing is read during that: the sweep waits for its commit. No I/O.
"""

from collections.abc import Collection, Container, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from bus.protocol.messages import TOPIC_EX, TOPIC_REF, CycleEnd, market_topic
from bus.protocol.state import AGELESS_MS, State
from bus.protocol.writer import Change
from bus.scan.membership import events_of
from bus.threads import Owner, assert_held
from markets.book import top_of_quote
from markets.errors import BadRecord
from markets.json.pages import text_member
from markets.records import UNJOINED_SERIES, Market, Milestone, Quote, Record, Remove, Status
from markets.timing import is_over
from markets.units import DAY_MS, parse_time_ms

from .reading import Candidate, Reading, Seen

KEEP_FINALIZED_MS: Final = DAY_MS
"""How long settled markets stay, so that positions keep their row."""

ROTATION_MS: Final = 540_000
"""Everything is sent again within this time: the protocol promises 10 minutes."""

MAX_UNCONFIRMED_BYTES: Final = 200_000

AHEAD_MS: Final = 1_000
"""A time further ahead than this came from a clock that has been set back since."""

JUST_CLOSED_MS: Final = 3_600_000
"""A market that closed this recently is waited for: its result comes soon."""

_LISTED: Final = ("volume_24h_e2", "previous_price_e4", "previous_yes_bid_e4", "previous_yes_ask_e4")
"""Members of a quote that only lists have."""

_TRADING: Final = frozenset({Status.INITIALIZED, Status.ACTIVE, Status.INACTIVE})


class Diff(NamedTuple):
    """Changes of a commit and its end (numbered by the writer)."""

    changes: list[Change]
    cycle: CycleEnd


class Missing(NamedTuple):
    """Held markets that a complete crawl did not show, in each part the longest unconfirmed first.

    `first` are those somebody waits for: in somebody's position, just closed, or lately missing from lists.
    """

    first: list[str]
    rest: list[str]


class Held:
    """What is held of the exchange in addition to the state: hashes, relations, what is due.

    The bus thread changes it; the sweep's thread reads it between commits.

    Args:
        state: the publisher's; records in it (from a checkpoint) are taken as held.

    Attributes:
        older: how many quotes were refused because a newer one is held.
        disputed: markets whose refused quote had best prices different from the held one's; bus thread.
        taken: market -> the hash of its bytes that were last accepted.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.older = 0
        self.disputed: set[str] = set()
        self.taken: dict[str, int] = {}
        self._seen: dict[int, Seen] = {}
        self._seen_of: dict[str, int] = {}
        self._settled: dict[str, int] = {}
        self._listed_ms: dict[str, int] = {}
        """Markets whose quote the stream has moved on -> as of when all else that is held of them is."""
        self._expires_ms: dict[str, int] = {}
        self._active: set[str] = set()
        self._markets_of: dict[str, set[str]] = {}
        self._members_changed = True
        self._rotation = Rotation(state)
        self._thread = Owner("what the publisher holds")
        self._latest_ms = max([quote.as_of_ms for quote in state.quotes.values()], default=0)
        for ticker, market in state.markets.items():
            self._hold(ticker, market, state.quotes.get(ticker))

    # -- what a reply is judged by

    def seen(self, digest: int) -> Seen | None:
        """Return what an event with exactly these bytes is held as; None if they differ."""
        return self._seen.get(digest)

    def settled(self, ticker: str) -> int | None:
        """Return the hash of the bytes of a market that was settled too long ago to be held."""
        return self._settled.get(ticker)

    def markets_of(self, event_ticker: str) -> Collection[str]:
        """Return the held markets of an event."""
        return self._markets_of.get(event_ticker, ())

    def open_events(self) -> dict[str, int]:
        """Return the held events with a market not finalized, and how many of their markets are held."""
        events, expires = self.state.events, self._expires_ms
        return {
            ticker: len(markets)
            for ticker, markets in self._markets_of.items()
            if ticker in events and not markets <= expires.keys()
        }

    def missing(self, reading: Reading, now_ms: int) -> Missing:
        """Return the held markets that a complete crawl did not show.

        Finalized ones no longer change and are not asked for.
        """
        state, first, rest = self.state, list[str](), list[str]()
        missing = reading.unseen(state.markets.keys()) - self._expires_ms.keys() - reading.gone
        for ticker in sorted(missing, key=lambda ticker: (state.quote_as_of_ms(ticker) or 0, ticker)):
            quote = state.quotes.get(ticker)
            waited_for = (
                ticker in reading.kept
                or quote is None
                or quote.status in _TRADING
                or 0 <= now_ms - (state.markets[ticker].close_ms or 0) < JUST_CLOSED_MS
            )
            (first if waited_for else rest).append(ticker)
        # What is in somebody's position comes before everything else.
        first.sort(key=lambda ticker: ticker not in reading.kept)
        return Missing(first, rest)

    def unheard_milestones(self, reading: Reading, now_ms: int, *, listed: bool) -> list[str]:
        """Return an event of each held milestone that no list brought and that does not say it is over.

        Args:
            listed: whether lists bring milestones at all; if so, only those that have begun are looked for.
        """
        found: dict[str, None] = {}
        for milestone in self.state.milestones.values():
            if is_over(milestone, now_ms) or (listed and (milestone.start_ms or 0) > now_ms):
                continue
            events = [ticker for ticker in events_of(milestone) if ticker in self._markets_of]
            shown = listed and any(reading.saw(t) for event in events for t in self._markets_of[event])
            if events and not shown:
                found[min(events)] = None
        return list(found)

    # -- the commit, in the bus thread

    def diff(self, reading: Reading, now_ms: int) -> Diff:
        """Return the changes that turn the state into what was read, and note them as held.

        The caller holds the state's lock and applies them before the next call.
        """
        self._thread.check()
        state = self.state
        assert_held(state.lock)
        markets: dict[str, dict[str, list[Record]]] = {}
        removed: set[str] = set()
        for ticker in sorted(reading.candidates):
            self._take(ticker, reading.candidates[ticker], now_ms, markets, removed, reading)
        self._refresh(reading, markets, now_ms)
        self._set_right(reading, markets, now_ms)
        expired = {ticker for ticker, at_ms in self._expires_ms.items() if at_ms <= now_ms}
        expired -= reading.kept
        for ticker in sorted((expired | reading.gone) - removed):
            if ticker in state.markets:
                self._drop(ticker, markets, removed)

        exchange: list[Record] = [reading.exchange] if reading.exchange else []
        puts, drops = self._references(reading)
        changes: list[Change] = [(TOPIC_EX, "exchange", exchange)] if exchange else []
        changes += puts
        for topic in sorted(markets):
            changes += [
                (topic, kind, markets[topic][kind])
                for kind in ("remove", "market", "quote")
                if kind in markets[topic]
            ]
        changes += drops
        if reading.complete:
            self._settled = reading.settled
        self._note_whole(reading)
        return Diff(changes, self._cycle(reading, removed))

    def _take(
        self,
        ticker: str,
        candidate: Candidate,
        now_ms: int,
        markets: dict[str, dict[str, list[Record]]],
        removed: set[str],
        reading: Reading,
    ) -> None:
        state = self.state
        market, quote, digest = candidate
        held, held_quote = state.markets.get(ticker), state.quotes.get(ticker)
        expired = quote.status is Status.FINALIZED and _expires_ms(market, quote) <= now_ms
        if expired and ticker not in reading.kept:
            reading.settled[ticker] = digest
            if held is not None:
                self._drop(ticker, markets, removed)
            return
        topic = market_topic(market.series_ticker or UNJOINED_SERIES)
        if held is not None and state.stream_of[ticker] != topic:
            self._drop(ticker, markets, removed)
            removed.discard(ticker)  # it is held nevertheless, elsewhere
            held = held_quote = None
        held_as_of_ms = state.quote_as_of_ms(ticker) if held_quote is not None else None
        # A held time in the future is a clock that was set back, not a newer quote.
        if held_as_of_ms is not None and quote.as_of_ms < held_as_of_ms <= now_ms:
            self.older += 1  # not noted as accepted, so it is examined again
            if held_quote is not None and top_of_quote(quote) != top_of_quote(held_quote):
                self.disputed.add(ticker)
            if held is not None and held_quote is not None:
                self._take_listed(market, quote, held, held_quote, markets.setdefault(topic, {}))
            return
        self._listed_ms.pop(ticker, None)
        kinds = markets.setdefault(topic, {})
        if held is not market and held != market:
            kinds.setdefault("market", []).append(market)
        if (
            held_quote is None
            or held_quote.as_of_ms > now_ms
            or msgspec.structs.replace(quote, as_of_ms=held_quote.as_of_ms) != held_quote
        ):
            kinds.setdefault("quote", []).append(quote)
            held_quote = quote
            self._latest_ms = max(self._latest_ms, quote.as_of_ms)
        if held is not None and held.event_ticker != market.event_ticker:
            self._leave_event(ticker, held.event_ticker)
        self.taken[ticker] = digest
        # Its event's previous bytes now differ from it; `_note_whole` notes those that do not.
        self._forget_event(market.event_ticker)
        self.disputed.discard(ticker)
        self._hold(ticker, market, held_quote)

    def _take_listed(
        self, market: Market, quote: Quote, held: Market, held_quote: Quote, kinds: dict[str, list[Record]]
    ) -> None:
        """Take from a reply older than the stream what the stream does not say.

        Else a market that trades all the time would keep its old close, rules and ticks for as long as that.
        """
        ticker = market.ticker
        listed_ms = self._listed_ms.get(ticker)
        if listed_ms is None or quote.as_of_ms <= listed_ms:
            return  # what is held of that, too, is newer
        if held.result or market.result or held.event_ticker != market.event_ticker:
            return  # it waits for a reply that nothing is newer than
        self._listed_ms[ticker] = quote.as_of_ms
        if market != held:
            kinds.setdefault("market", []).append(market)
        if quote.as_sent is None and held_quote.as_sent is None:
            named = {name: getattr(quote, name) for name in _LISTED}
            merged = msgspec.structs.replace(held_quote, **named)
            if merged != held_quote:
                kinds.setdefault("quote", []).append(merged)

    def streamed(self, ticker: str, status: Status, as_of_ms: int) -> None:
        """Note that this market's quote is not the one last swept: equal bytes no longer confirm it."""
        self._latest_ms = max(self._latest_ms, as_of_ms)
        if ticker not in self._listed_ms:
            # Including what a sweep has confirmed since, without sending it again.
            self._listed_ms[ticker] = self.state.quote_as_of_ms(ticker) or 0
        if self.taken.pop(ticker, None) is not None:
            self._forget_event(self.state.markets[ticker].event_ticker)
        if status is Status.ACTIVE:
            self._active.add(ticker)
        else:
            self._active.discard(ticker)

    def _forget_event(self, event_ticker: str) -> None:
        """Forget an event's bytes, so that it is decoded when it next comes."""
        digest = self._seen_of.pop(event_ticker, None)
        if digest is not None:
            self._seen.pop(digest, None)

    def _note_whole(self, reading: Reading) -> None:
        """Remember the bytes of decoded events that are now held as they came, with all their markets."""
        for event_ticker in reading.events:
            self._forget_event(event_ticker)
        for event_ticker, (digest, markets) in reading.whole.items():
            if event_ticker not in self._markets_of or event_ticker not in reading.events:
                continue
            held = [ticker for ticker, taken in markets.items() if self.taken.get(ticker) == taken]
            settled = {}
            if len(held) != len(markets):
                settled = {t: d for t, d in markets.items() if reading.settled.get(t) == d}
            if len(held) + len(settled) == len(markets):
                self._seen[digest] = Seen(event_ticker, tuple(held), settled)
                self._seen_of[event_ticker] = digest

    def _refresh(self, reading: Reading, markets: dict[str, dict[str, list[Record]]], now_ms: int) -> None:
        """Send unchanged quotes that were read separately, with their own age: the cycle's is too young."""
        for ticker in sorted(reading.loose.keys() & reading.confirmed):
            known_ms = self.state.quote_as_of_ms(ticker)
            if reading.older_than_crawl(ticker) and known_ms is not None:
                quote = self.state.quotes[ticker]
                if reading.loose[ticker] > known_ms or known_ms > now_ms + AHEAD_MS:
                    quote = msgspec.structs.replace(quote, as_of_ms=reading.loose[ticker])
                    kinds = markets.setdefault(self.state.stream_of[ticker], {})
                    kinds.setdefault("quote", []).append(quote)

    def _set_right(self, reading: Reading, markets: dict[str, dict[str, list[Record]]], now_ms: int) -> None:
        """Resend quotes dated in the future: the clock was ahead when they were heard.

        They get the age of this sweep if it confirms them; otherwise their age is unknown: AGELESS_MS.
        """
        if self._latest_ms <= now_ms + AHEAD_MS:
            return
        state = self.state
        made = (record for kinds in markets.values() for record in kinds.get("quote", ()))
        sent = {record.ticker for record in made if isinstance(record, Quote)}
        self._latest_ms = now_ms
        for ticker, quote in sorted(state.quotes.items()):
            if quote.as_of_ms <= now_ms + AHEAD_MS or ticker in sent:
                continue
            as_of_ms = now_ms - AGELESS_MS
            if ticker in reading.confirmed:
                as_of_ms = reading.loose.get(ticker, reading.as_of_ms or as_of_ms)
            quote = msgspec.structs.replace(quote, as_of_ms=as_of_ms)
            markets.setdefault(state.stream_of[ticker], {}).setdefault("quote", []).append(quote)

    def _hold(self, ticker: str, market: Market, quote: Quote | None) -> None:
        siblings = self._markets_of.get(market.event_ticker)
        if siblings is None:
            siblings = self._markets_of[market.event_ticker] = set()
            self._members_changed = True
        siblings.add(ticker)
        self._rotation.add("market", ticker)
        if quote is not None and quote.status is Status.ACTIVE:
            self._active.add(ticker)
        else:
            self._active.discard(ticker)
        if quote is not None and quote.status is Status.FINALIZED:
            self._expires_ms[ticker] = _expires_ms(market, quote)
        else:
            self._expires_ms.pop(ticker, None)

    def _drop(self, ticker: str, markets: dict[str, dict[str, list[Record]]], removed: set[str]) -> None:
        topic = self.state.stream_of[ticker]
        markets.setdefault(topic, {}).setdefault("remove", []).append(Remove("market", ticker))
        removed.add(ticker)
        self.taken.pop(ticker, None)
        self._listed_ms.pop(ticker, None)
        self.disputed.discard(ticker)
        self._expires_ms.pop(ticker, None)
        self._active.discard(ticker)
        self._rotation.drop("market", ticker)
        self._leave_event(ticker, self.state.markets[ticker].event_ticker)

    def _leave_event(self, ticker: str, event_ticker: str) -> None:
        self._forget_event(event_ticker)
        siblings = self._markets_of.get(event_ticker, set())
        siblings.discard(ticker)
        if not siblings and self._markets_of.pop(event_ticker, None) is not None:
            self._members_changed = True

    def _references(self, reading: Reading) -> tuple[list[Change], list[Change]]:
        """Return which reference data to put and which to remove: it is held while a market needs it."""
        state, markets_of = self.state, self._markets_of
        held = state.events
        changed = {key: event for key, event in reading.events.items() if held.get(key) is not event}
        if not (changed or reading.series or reading.milestones or self._members_changed):
            return [], []
        self._members_changed = False
        events = {**held, **changed}
        needed = {events[ticker].series_ticker for ticker in markets_of if ticker in events}
        linked = {key: m for key, m in reading.milestones.items() if self._links(m)}
        puts: list[Change] = []
        gone: list[Record] = []
        sources: tuple[tuple[str, Mapping[str, Record], Container[str], AbstractSet[str]], ...] = (
            ("series", reading.series, needed, state.series.keys() - needed),
            ("event", changed, markets_of, held.keys() - markets_of.keys()),
            (
                "milestone",
                linked,
                linked,
                {key for key, m in state.milestones.items() if not self._links(m)},
            ),
        )
        for kind, read, wanted, unwanted in sources:
            records = state.records[kind]
            put = [read[key] for key in sorted(read) if key in wanted and records.get(key) != read[key]]
            if put:
                puts.append((TOPIC_REF, kind, put))
            for key in sorted(read):
                if key in wanted:
                    self._rotation.add(kind, key)
            for key in sorted(unwanted):
                self._rotation.drop(kind, key)
                gone.append(Remove(kind, key))
        return puts, [(TOPIC_REF, "remove", gone)] if gone else []

    def _links(self, milestone: Milestone) -> bool:
        return any(ticker in self._markets_of for ticker in milestone.primary_event_tickers) or any(
            ticker in self._markets_of for ticker in milestone.related_event_tickers
        )

    def _cycle(self, reading: Reading, removed: set[str]) -> CycleEnd:
        state, last = self.state, self.state.cycle
        late = {
            ticker for ticker in reading.loose if reading.saw(ticker) and reading.older_than_crawl(ticker)
        }
        late -= removed | reading.settled.keys()
        unseen = reading.unseen(state.markets.keys()) - removed
        unconfirmed = sorted((unseen | late) - self._expires_ms.keys())
        as_of_ms = reading.as_of_ms
        if sum(map(len, unconfirmed)) + 3 * len(unconfirmed) > MAX_UNCONFIRMED_BYTES:
            # Too many to name: claim nothing newer about the unchanged ones than was known before.
            as_of_ms = last.as_of_ms if last else None
            before = set(last.unconfirmed) if last else set()
            unconfirmed = [ticker for ticker in unconfirmed if ticker in before]
        return CycleEnd(
            cycle=0,
            first=0,
            last=0,
            count=0,
            complete=reading.complete,
            started_ms=reading.started_ms,
            ended_ms=reading.ended_ms,
            as_of_ms=as_of_ms,
            unconfirmed=tuple(unconfirmed),
            complete_ms=reading.ended_ms if reading.complete else (last.complete_ms if last else None),
            markets=len(self._active),
            quarantined=len(reading.bad),
            unjoined=sum(map(len, reading.unjoined.values())),
        )

    def rotate(self, now_ms: int) -> list[Change]:
        """Return what is due to be resent unchanged. Call after the commit, in the bus thread."""
        self._thread.check()
        return self._rotation.due(now_ms)


class Rotation:
    """Whose turn it is to be resent, so that everything is within ROTATION_MS."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._keys: dict[str, dict[str, None]] = {
            kind: dict.fromkeys(state.records[kind]) for kind in ("series", "event", "milestone", "market")
        }
        self._rotated_ms: int | None = None

    def add(self, kind: str, key: str) -> None:
        """Add a record to the rotation, at the end if it is new."""
        self._keys[kind].setdefault(key)

    def drop(self, kind: str, key: str) -> None:
        """Forget a record."""
        self._keys[kind].pop(key, None)

    def due(self, now_ms: int) -> list[Change]:
        """Return the records whose turn has come since the last call; a market with its quote."""
        state = self._state
        last_ms, self._rotated_ms = self._rotated_ms, now_ms
        if last_ms is None or last_ms > now_ms:
            return []
        passed_ms = min(now_ms - last_ms, ROTATION_MS)
        found: dict[tuple[str, str], list[Record]] = {}
        for kind, keys in self._keys.items():
            for key in list(islice(keys, -(-len(keys) * passed_ms // ROTATION_MS))):
                del keys[key]
                record = state.records[kind].get(key)
                if record is None:
                    continue
                keys[key] = None
                topic = state.stream_of[key] if kind == "market" else TOPIC_REF
                found.setdefault((topic, kind), []).append(record)
                if kind == "market":
                    found.setdefault((topic, "quote"), []).append(state.quotes[key])
        return [(topic, kind, found[topic, kind]) for topic, kind in sorted(found)]


def _expires_ms(market: Market, quote: Quote) -> int:
    """Return until when a finalized market is kept. `settlement_ts` is sent once it is settled."""
    try:
        settled_ms = parse_time_ms(text_member(market.raw, "settlement_ts"), "settlement_ts")
    except BadRecord:
        settled_ms = quote.as_of_ms
    return settled_ms + KEEP_FINALIZED_MS
