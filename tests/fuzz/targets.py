"""What reads bytes from outside, each with good bytes to begin from and the errors that it may raise.

`take` of a target raises what is a finding. A target is made anew for each seed, and a finding names it: what
came before in it may matter.
"""

import contextlib
import gzip
import io
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

import msgpack
import msgspec
import xxhash
import zstandard

from bus.clock import SystemClock
from bus.process.settings import Settings
from bus.protocol.answers import Answers, Refusal
from bus.protocol.memory import Keeping, Packed, Slim
from bus.protocol.messages import RECORD_TYPES, decode_record, encode_map, encode_record, unpack_map
from bus.protocol.writer import Writer
from bus.replica import SteppedReplica
from bus.scan.rescan import Batch
from bus.scan.scans import Scans
from bus.tape.export import export_records
from bus.tape.file import Recording, RecordingError, RecordingWriter
from bus.tape.moments import Moments, NotRecorded, Position
from bus.tape.player import Player
from bus.tape.tape import Tape
from bus.tape.verify import verify
from bus.trading.gateway import AccountAnswer
from bus.trading.shapes import CommandAnswer, OrdersAnswer, PositionsAnswer, TraderStatus, told
from markets.errors import BadRecord, DecodeError, SettingsError, StartupError
from markets.json import books, pages, read
from markets.json.write import market_json
from markets.opportunities.types import ScanLimits
from markets.records import Event, Market, Record
from markets.units import format_time
from publisher import checkpoint
from publisher.drift import DriftWatch
from publisher.kalshi.stream_session import StreamSession
from publisher.kalshi.subscriptions import Broken
from publisher.orders import replies
from publisher.orders.account import LISTS, Account, Listing, listed_order, shards
from publisher.orders.replies import SeenFill
from snapshot_server.edition import Edition, next_edition
from tests.bus.protocol.damage import HUGE, a_while
from tests.bus.protocol.examples import the_messages
from tests.bus.protocol.lines import FILTER, Line
from tests.bus.trading.samples import a_status
from tests.fuzz.gateway import Gateway
from tests.fuzz.mutate import Mutation, damaged, json_damaged, msgpack_damaged
from tests.support import ROOT
from tests.trader.bench import Bench
from tests.trader.journal.files import a_journal, opened
from trader.fair_values.values_file import parse
from trader.journal.reader import Reader
from ui.routes.command_rules import BODIES, read_body, read_replay

FORMATS: Final = ROOT / "tests/data/formats/v1/stack"
NOW_MS: Final = 1_790_000_000_000


class Target(Protocol):
    """Takes bytes from outside."""

    @property
    def corpus(self) -> Sequence[bytes]:
        """Good bytes."""

    def mutate(self, data: bytes, rng: Random, others: Sequence[bytes], /) -> bytes:
        """Return bytes that are nearly one of the corpus."""

    def take(self, data: bytes, rng: Random, /) -> None:
        """Do with these bytes what the product does with them; raise what it must not raise."""


class Simple:
    """A target that is one function of bytes, which may raise `allowed`."""

    def __init__(
        self,
        corpus: Sequence[bytes],
        mutate: Mutation,
        take: Callable[[bytes], object],
        allowed: tuple[type[Exception], ...],
    ) -> None:
        self.corpus = corpus
        self._mutate = mutate
        self._take = take
        self._allowed = allowed

    def mutate(self, data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
        return self._mutate(data, rng, others)

    def take(self, data: bytes, _rng: Random) -> None:
        with contextlib.suppress(*self._allowed):
            self._take(data)


# -- the bus


def frame_damaged(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    """Return a feed message with its topic, header or a record damaged."""
    topic, zero, body = data.partition(b"\0")
    if rng.random() < 0.1:
        return damaged(data, rng, others)
    if rng.random() < 0.1:
        return rng.choice(others).partition(b"\0")[0] + zero + body
    return topic + zero + msgpack_damaged(body, rng, others)


class Feed:
    """Messages of a feed, into a replica that is live or joining, of all or some topics, of every keeping."""

    def __init__(self, seed: int) -> None:
        rng = Random(seed)
        keeping = rng.choice((None, Packed(sample_bytes=1_000), Slim()))
        self._line = Line(rng.choice((("",), FILTER)), joined=False)
        self._line.node.sync._keeping = keeping
        self._line.settle()
        self.corpus = [*the_messages().values(), *a_while(self._line)]
        self._edition: Edition | None = None
        self._scans = Scans(ScanLimits())

    mutate = staticmethod(frame_damaged)

    def take(self, data: bytes, rng: Random) -> None:
        line, sync = self._line, self._line.node.sync
        line.now_ms += rng.choice((1, 1, 1, 100, 3_500))
        line.node._do(sync.hear((self._next(data, rng),), line.now_ms))
        line.node.tick(line.now_ms)
        if rng.random() < 0.1:
            line.settle(1)
        state = sync.state
        with state.lock:
            state.digest()
            for topic in list(state.streams):
                for chunk in state.chunk(topic) if not isinstance(state.keeping, Slim) else ():
                    msgspec.msgpack.encode(chunk)
        if not isinstance(state.keeping, Slim) and state.epoch:
            frozen = state.frozen()
            self._edition = next_edition(frozen, 0, self._edition, NOW_MS, lambda: None)
            self._scans.advance(frozen, Batch(commit=True, whole=rng.random() < 0.5), NOW_MS)
        line.node.changed.clear()
        line.node.told.clear()

    def _next(self, data: bytes, rng: Random) -> bytes:
        """Make a message the next one, so that it gets past the numbers, most of the time."""
        base = self._line.node.sync._base
        topic, zero, body = data.partition(b"\0")
        if base is None or rng.random() < 0.3:
            return data
        try:
            header = msgpack.unpackb(body, raw=False, strict_map_key=False)
            stream = base.streams.get(topic.decode())
            header[1:4] = [base.epoch, base.seq + 1, stream.last if stream is not None else 0]
            return topic + zero + bytes(msgpack.packb(header))
        except (ValueError, TypeError, OverflowError, UnicodeEncodeError, msgpack.UnpackException):
            return data


class Snapshot:
    """Answers to a replica's question: refusals, heads, and chunks packed or not."""

    def __init__(self) -> None:
        line = Line()
        question = encode_map({"op": "snapshot", "id": 1})
        self._answer = line.server.answer(question, 0)
        refusal = {"ok": False, "id": 1, "error": {"code": "not_ready", "message": "no", "retry_ms": 250}}
        self.corpus = [self._answer[0], encode_map(refusal), *map(zstandard.decompress, self._answer[1:])]

    def mutate(self, data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
        return msgpack_damaged(data, rng, others)

    def take(self, data: bytes, rng: Random) -> None:
        keeping: Keeping | None = rng.choice((None, Packed(sample_bytes=1_000), Slim()))
        made = SteppedReplica(None, "", "", SystemClock(), Random(1), keeping=keeping)  # type: ignore[arg-type]
        replica: Any = made
        try:
            replica._pass_time(replica._steady_ms())
            head, chunks = self._answer[0], list(self._answer[1:])
            if rng.random() < 0.5:
                head = data
            else:
                packed = zstandard.compress(data)
                chunks[rng.randrange(len(chunks))] = rng.choice(
                    (packed, packed, packed, damaged(packed, rng), data, HUGE)
                )
            replica._take_answer([b"", head, *chunks], replica._steady_ms())
            replica._pass_time(replica._steady_ms() + 10_000)
            replica.status()
        finally:
            replica._waiting.wake_line.close()


class Questions:
    """Questions to all servers of the bus: the state, the trader's control and a replay."""

    mutate = staticmethod(msgpack_damaged)

    def __init__(self, folder: Path) -> None:
        line = Line()
        trader = Bench(folder)
        self._servers = [
            Answers(lambda: line.publisher.writer.state, on_wish=lambda *_: None),
            trader._answers,
        ]
        player = Player(Recording(FORMATS / "recording.mcap"), SystemClock(), 1)
        self._servers[0].add("replay", player.control, "action", "to_ms", "speed")
        asked: list[dict[str, Any]] = [
            {"op": "ping"}, {"op": "schema"}, {"op": "digest"},
            {"op": "snapshot", "streams": ["md."], "since": 3, "also": ["ref."], "epoch": 1},
            {"op": "watch", "tickers": ["A-1-X"], "ttl_s": 60, "what": "book"},
            {"op": "replay", "action": "seek", "to_ms": 1}, {"op": "replay", "action": "speed", "speed": 2.0},
            {"op": "status"}, {"op": "positions"}, {"op": "orders", "limit": 5, "before": 9},
            {"op": "equity", "since": 5, "limit": 3}, {"op": "pause", "reason": "x"},
            {"op": "kill", "reason": "x"}, {"op": "resume", "word": "UNLOCK"},
        ]  # fmt: skip
        self.corpus = [
            *(encode_map({"id": number, **question}) for number, question in enumerate(asked)),
            b"\x83\xa2op\xa4ping\xc4\x01b\x01\xa1c\x01",
        ]

    def take(self, data: bytes, _rng: Random) -> None:
        for server in self._servers:
            (head, *_) = server.answer(data, NOW_MS)
            answer = msgpack.unpackb(head)
            assert answer["ok"] or answer["error"]["code"] != "internal", answer


class Told:
    """Answers of a trader, to whoever asks it."""

    mutate = staticmethod(msgpack_damaged)

    def __init__(self) -> None:
        said: list[dict[str, Any]] = [
            {"ok": True, "id": 1, "state": "paused", "warning": None},
            {"ok": False, "id": 1, "error": {"code": "busy", "message": "wait", "retry_ms": 5}},
            {"ok": True, "id": 1, **msgspec.to_builtins(a_status())},
        ]
        self.corpus = list(map(encode_map, said))

    def take(self, data: bytes, _rng: Random) -> None:
        for type_ in (CommandAnswer, TraderStatus, PositionsAnswer, OrdersAnswer):
            with contextlib.suppress(DecodeError, Refusal):
                told(unpack_map(data), type_)


# -- files


class Recordings:
    """A recording that is damaged, or that says what is damaged; played, told and made into tables."""

    def __init__(self, folder: Path) -> None:
        self._path, self._tables = folder / "x.mcap", folder / "tables"
        line = Line()
        answer = line.server.answer(encode_map({"op": "snapshot", "id": 0}), 0)
        self._frames = a_while(line)
        self._answer = answer
        self.corpus = [self._written(self._frames, answer)]

    def mutate(self, data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
        if rng.random() < 0.4:
            return damaged(data, rng, others)
        heard, answer = list(self._frames), list(self._answer)
        if rng.random() < 0.7:
            at = rng.randrange(len(heard))
            heard[at] = frame_damaged(heard[at], rng, heard)
        else:
            at = rng.randrange(len(answer))
            answer[at] = msgpack_damaged(answer[at], rng, answer) if at == 0 else _repacked(answer[at], rng)
        return self._written(heard, answer)

    @staticmethod
    def _written(heard: Sequence[bytes], answer: list[bytes]) -> bytes:
        file = io.BytesIO()
        writer = RecordingWriter(file)
        writer.keyframe(answer, NOW_MS * 1_000_000)
        for number, frame in enumerate(heard):
            writer.frame(frame, NOW_MS * 1_000_000 + number, number)
        writer.finish()
        return file.getvalue()

    def take(self, data: bytes, rng: Random) -> None:
        self._path.write_bytes(data)
        with contextlib.suppress(RecordingError):
            tape = Tape(Recording(self._path), 1, keeping=rng.choice((None, Slim())))
            for _moment in tape:
                tape.status()
            verify(Recording(self._path))
            past = Moments(Recording(self._path))
            with contextlib.suppress(NotRecorded):
                past.at(rng.choice((past.span()[1], Position(NOW_MS, rng.randrange(50)))))
            if rng.random() < 0.2:
                export_records(Recording(self._path), self._tables)
                shutil.rmtree(self._tables)


def _repacked(chunk: bytes, rng: Random) -> bytes:
    body = zstandard.decompress(chunk)
    return rng.choice((zstandard.compress(msgpack_damaged(body, rng)), damaged(chunk, rng), HUGE))


class Checkpoints:
    """A checkpoint whose hash is right all the same, opened as a publisher does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        whole = (FORMATS / "checkpoint").read_bytes()
        self._source = json.loads((FORMATS / "holds.json").read_text())["checkpoint"]["source"]
        self.corpus = [zstandard.ZstdDecompressor().decompressobj().decompress(whole[:-8])]

    def mutate(self, data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
        return damaged(data, rng, others)

    def take(self, data: bytes, rng: Random) -> None:
        packed = zstandard.compress(data)
        if rng.random() < 0.2:
            packed = damaged(packed, rng)
        (self._folder / checkpoint.NAME).write_bytes(packed + xxhash.xxh3_64_digest(packed))
        found = checkpoint.load(self._folder, self._source)
        if found.cycle is not None:
            writer = Writer(found.epoch + 1)
            writer.load(found.changes)
            writer.commit((), found.cycle, 1, 1)
            writer.state.digest()


class Journals:
    """A journal with bytes or values damaged: taken up, or refused in a sentence and left as it is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = a_journal(folder)
        self.corpus = [self._path.read_bytes()]
        with contextlib.closing(sqlite3.connect(self._path)) as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            self._columns = [(t, row[1]) for t in tables for row in db.execute(f"PRAGMA table_info({t})")]

    def mutate(self, data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
        if rng.random() < 0.4:
            return damaged(data, rng, others)
        self._path.write_bytes(data)
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode=DELETE")
            table, column = rng.choice(self._columns)
            value = rng.choice(
                (None, "x", "", -1, 0, 2**63 - 1, -(2**63), 1.5, b"\xff", b"\xc1", "9" * 30, "1:2:3")
            )
            with contextlib.suppress(sqlite3.Error):
                if rng.random() < 0.2:
                    db.execute(f"DELETE FROM {table} WHERE rowid = {rng.randrange(1, 5)}")
                else:
                    db.execute(f"UPDATE {table} SET {column} = ?", (value,))
            db.execute("PRAGMA journal_mode=WAL")
        return self._path.read_bytes()

    def take(self, data: bytes, _rng: Random) -> None:
        for beside in self._path.parent.iterdir():
            if beside.name.startswith(self._path.name) and not beside.name.endswith(".lock"):
                beside.unlink()
        self._path.write_bytes(data)
        journal, said = None, ""
        try:
            journal = opened(self._folder)
        except StartupError as error:
            said = str(error)
        if journal is None:
            assert said.count("\n") == 0, said
            assert self._path.read_bytes() == data, "what is refused is left as it is"
            return
        try:
            journal.recover()
            journal.counts()
        finally:
            journal.close()
        with contextlib.closing(Reader(self._path)) as reader:
            for session in reader.sessions():
                with contextlib.suppress(DecodeError):
                    list(reader.inputs(session))


# -- Kalshi


@cache
def _recorded(name: str) -> Any:
    packed = (ROOT / "tests/data/kalshi" / name).read_bytes()
    return json.loads(gzip.decompress(packed) if name.endswith(".gz") else packed)


def _lines(values: Sequence[Any]) -> list[bytes]:
    return [json.dumps(value, ensure_ascii=False).encode() for value in values]


def _rest(data: bytes) -> None:
    """Read bytes as everything that REST brings; what can be read goes over the wire and back."""
    kinds = {type_: kind for kind, type_ in RECORD_TYPES.items()}

    def kept(*records: Any) -> None:
        for record in records:
            raw = encode_record(record)
            assert decode_record(kinds[type(record)], raw) == record
            if isinstance(record, Market):
                read.slim_market_raw(record)
            if isinstance(record, Event):
                read.slim_event_raw(record)

    def market() -> None:
        decoded, quote = read.decode_market(data, series_ticker="S", as_of_ms=NOW_MS)
        kept(decoded, quote)
        market_json(decoded, quote, as_of_ms=NOW_MS)

    for decode in (
        market,
        lambda: kept(read.decode_event(data)[0]),
        lambda: kept(read.decode_series(data)),
        lambda: kept(read.decode_milestone(data)),
        lambda: kept(read.decode_exchange_status(data, NOW_MS)),
        lambda: kept(*books.decode_books(data, NOW_MS)[0]),
        lambda: books.decode_candles(data, 100_000),
        lambda: pages.split_events(data),
        lambda: pages.split_list(data, "markets"),
        lambda: pages.decode_tier(data),
    ):
        with contextlib.suppress(BadRecord):
            decode()


def _rest_corpus() -> list[bytes]:
    events = _recorded("events.json.gz")["events"]
    found = [{**event, "markets": event["markets"][:2]} for event in events[:6]]
    book = {"ticker": "A-1-X", "orderbook_fp": {"yes_dollars": [["0.4000", "100.00"]], "no_dollars": []}}
    return _lines(
        [
            *found,
            *(market for event in found for market in event["markets"]),
            *_first(_recorded("series.json"), 3),
            *_first(_recorded("milestones.json"), 5),
            {"orderbooks": [book]},
            {"events": found[:2], "cursor": "x", "milestones": []},
            {"exchange_active": True, "trading_active": True, "exchange_estimated_resume_time": None},
        ]
    )


def _first(value: Any, count: int) -> list[Any]:
    return list(value.values() if isinstance(value, dict) else value)[:count]


class Frames:
    """Frames of the WebSocket, into a session that follows books."""

    mutate = staticmethod(json_damaged)

    def __init__(self) -> None:
        bare = [frame for _, frame in _recorded("ws_orderbook_stream.json.gz")[:60]]
        extra = [
            {"type": "error", "id": 1, "sid": 1, "seq": 3, "msg": {"code": 6, "msg": "Already subscribed"}},
            {"type": "market_lifecycle_v2", "sid": 3,
             "msg": {"market_ticker": "A", "event_type": "determined", "result": "yes"}},
            {"type": "trade", "sid": 4,
             "msg": {"trade_id": "x", "market_ticker": "A", "yes_price_dollars": "0.3600",
                     "no_price_dollars": "0.6400", "count_fp": "136.00", "taker_side": "no",
                     "ts": 1669149841}},
        ]  # fmt: skip
        self.corpus = _lines([*bare, *extra])
        self._tickers = sorted(
            {t for frame in bare if isinstance(t := (frame.get("msg") or {}).get("market_ticker"), str)}
        )
        self._now_ms = NOW_MS
        self._open()

    def _open(self) -> None:
        self._session = StreamSession()
        self._session.open(self._now_ms)
        self._session.want(self._tickers, self._now_ms)

    def take(self, data: bytes, rng: Random) -> None:
        self._now_ms += rng.choice((1, 1, 50, 5_000))
        try:
            self._session.receive(data, self._now_ms)
            self._session.tick(self._now_ms)
            self._session.commands()
            for fact in self._session.facts():
                if isinstance(fact, Record):
                    encode_record(fact)
            self._session.refusals()
        except Broken:
            self._open()


class Drifts:
    """Whatever the exchange sends, to the watch over what is new in it; what it says goes over the wire."""

    _PATHS: Final = ("/events", "/markets", "/series/A", "/milestones", "/exchange/status", "/account/limits")
    mutate = staticmethod(json_damaged)

    def __init__(self) -> None:
        self._watch = DriftWatch(SystemClock())
        self.corpus = [*_rest_corpus(), *Frames().corpus]

    def take(self, data: bytes, rng: Random) -> None:
        watch, path = self._watch, rng.choice(self._PATHS)
        watch.reply(path, data)
        watch.reply(path, data, readable=False)
        watch.refusal(path, rng.choice((400, 401, 429, 503)), data)
        watch.frame(rng.choice(("ticker", "trade", "orderbook_delta", "error", "")), data)
        for row in watch.changes(NOW_MS):
            raw = encode_record(row)
            assert decode_record("drift", raw) == row


# -- what people write

SETTINGS: Final = b"""\
mode = "paper"
env = "sim"
poll_interval_s = 12
series = ["KXNBAGAME", "KXMLB"]
paper_cash = "1000.00"
sim_port = 5003
run_dir = ".run"
strategies = ["value", "no_basket"]
"""
VALUES: Final = b"""\
[{"ticker": "KX-1", "probability": 0.5, "margin": 0.01, "as_of": "2026-09-21T10:00:00Z"},
 {"ticker": "KX-2", "probability": "0.25"}, {"ticker": "KX-3", "probability": 0, "as_of": null}]"""
LISTED: Final = {
    "order_id": "o1", "client_order_id": "c1", "ticker": "A-1-X", "exchange_index": 0, "outcome_side": "yes",
    "status": "resting", "yes_price_dollars": "0.5000", "fill_count_fp": "1.00", "remaining_count_fp": "9.00",
    "initial_count_fp": "10.00", "expiration_time": "2026-10-19T18:10:00Z",
    "last_update_time": "2026-10-19T18:00:00Z",
}  # fmt: skip
FILLED: Final = {
    "order_id": "o1", "ticker": "A-1-X", "exchange_index": 0, "outcome_side": "no", "count_fp": "1.00",
    "yes_price_dollars": "0.5000", "fee_cost": "0.010000", "created_time": "2026-10-19T18:00:01Z",
    "fill_id": "f1", "is_taker": True,
}  # fmt: skip
BODY_CORPUS: Final = (
    b"{}",
    b"",
    b'{"reason":"enough"}',
    b'{"word":"UNLOCK"}',
    b'{"action":"pause"}',
    b'{"action":"speed","speed":2.5}',
    b'{"action":"seek","to_ms":1790000000000}',
)


REPLY_CORPUS: Final = tuple(
    json.dumps(reply).encode()
    for reply in (
        {
            "order_id": "o1", "client_order_id": "c1", "fill_count": "1.00", "remaining_count": "9.00",
            "reduced_by": "9.00", "ts_ms": NOW_MS,
        },
        {"orders": [LISTED], "cursor": "next"},
        {"fills": [FILLED, {**FILLED, "is_taker": False}], "cursor": ""},
        {"as_of_time": "2026-10-19T18:00:00Z"},
        {"queue_positions": [{"order_id": "o1", "queue_position_fp": "120.00"}]},
        {"balance_breakdown": [{"exchange_index": 1, "balance": "100.000000"}], "balance_dollars": "1.00"},
        {
            "market_positions": [
                {
                    "ticker": "A-1-X", "exchange_index": 0, "position_fp": "-5.00",
                    "market_exposure_dollars": "2.00", "fees_paid_dollars": "0.10",
                    "realized_pnl_dollars": "-0.50",
                }
            ]
        },
        {
            "settlements": [
                {
                    "ticker": "A-1-X", "event_ticker": "A-1", "exchange_index": 0, "market_result": "yes",
                    "yes_count_fp": "1.00", "no_count_fp": "0.00", "revenue": 100, "fee_cost": "0.00",
                    "settled_time": "2026-10-19T18:00:00Z", "value": 100,
                }
            ]
        },
        {
            "transfers": [
                {
                    "transfer_id": "t", "amount": "1.00", "created_ts": NOW_MS // 1000, "status": "applied",
                    "source_exchange_shard": 0, "destination_exchange_shard": 1,
                }
            ]
        },
        {"deposits": [{"id": "d", "amount_cents": 100, "fee_cents": 1, "finalized_ts": NOW_MS // 1000}]},
        {"withdrawals": [{"id": "w", "amount": 100, "created_ts": "2026-10-19T18:00:00Z"}]},
    )
)  # fmt: skip


def _replies(data: bytes) -> None:
    """Read what the exchange says of orders and account; log and bus can carry all that is made of it."""
    made: list[Any] = [replies.created(data), replies.reduced(data), replies.error_code(data)]
    for read_one in (replies.as_of_ms, replies.queues):
        with contextlib.suppress(BadRecord):
            made.append(read_one(data))
    for key, read_element in (("orders", replies.order), ("fills", replies.fill)):
        with contextlib.suppress(BadRecord):
            made.extend(map(read_element, replies.page(data, key)[0]))
    msgspec.msgpack.encode(made)
    listing = Listing(NOW_MS, 0, 0, 0)
    for what in LISTS:
        with contextlib.suppress(BadRecord):
            listing.read(what, data)
    account = Account.of(listing, [one for one in made if isinstance(one, SeenFill)], listing.resting)
    answer = AccountAnswer(
        exchange="e",
        account="a",
        as_of_ms=listing.as_of_ms,
        asked_ms=listing.asked_ms,
        in_flight=0,
        last_event=0,
        shards=shards(account, {}),
        positions=tuple(listing.positions),
        orders=tuple(listed_order(seen, None) for seen in listing.resting),
        settlements=tuple(listing.settlements),
        movements=tuple(listing.movements),
        netting=listing.netting,
    )
    answers = Answers(lambda: None)
    answers.add("account", lambda _question, _now_ms: msgspec.to_builtins(answer))
    (head,) = answers.answer(encode_map({"op": "account", "id": 1}), NOW_MS)
    assert told(unpack_map(head), AccountAnswer) == answer
    for time_ms in [one.time_ms for one in listing.settlements] + [one.time_ms for one in listing.movements]:
        format_time(time_ms)


def _settings(folder: Path, data: bytes) -> None:
    (folder / "kalshi-bus.toml").write_bytes(data)
    Settings.load({}, folder)


def _values(data: bytes) -> None:
    try:
        loaded = parse(data.decode(), "values.json", NOW_MS)
    except ValueError:
        return
    msgspec.json.encode(loaded)


def _bodies(data: bytes) -> None:
    for op in BODIES:
        with contextlib.suppress(BadRecord):
            read_body(op, data)
    read_replay(data)


def fast_folder() -> Path | None:
    """Return where files are made the quickest, None for where they always are."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else None


def _in(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir(mode=0o700)
    return made


TARGETS: Final[dict[str, Callable[[int, Path], Target]]] = {
    "feed": lambda seed, _folder: Feed(seed),
    "snapshot": lambda seed, _folder: Snapshot(),
    "questions": lambda _seed, folder: Questions(_in(folder, "data")),
    "told": lambda _seed, _folder: Told(),
    "recordings": lambda _seed, folder: Recordings(folder),
    "checkpoint": lambda _seed, folder: Checkpoints(folder),
    "journal": lambda _seed, folder: Journals(folder),
    "rest": lambda _seed, _folder: Simple(_rest_corpus(), json_damaged, _rest, ()),
    "websocket": lambda _seed, _folder: Frames(),
    "drift": lambda _seed, _folder: Drifts(),
    "replies": lambda _seed, _folder: Simple(REPLY_CORPUS, json_damaged, _replies, ()),
    "gateway": lambda _seed, _folder: Gateway(),
    "settings": lambda _seed, folder: Simple(
        [SETTINGS], damaged, partial(_settings, folder), (SettingsError,)
    ),
    "values": lambda _seed, _folder: Simple([VALUES], json_damaged, _values, ()),
    "bodies": lambda _seed, _folder: Simple(BODY_CORPUS, json_damaged, _bodies, (BadRecord,)),
}
"""Each made for a seed, with a folder of its own."""


def fuzz(name: str, seed: int, count: int, folder: Path) -> None:
    """Give a target `count` inputs of a seed.

    Raises:
        Finding: the target raised what it must not.
    """
    target, rng = TARGETS[name](seed, folder), Random(f"{name} {seed}")
    corpus = target.corpus
    for number in range(count):
        data = rng.choice(corpus)
        if number >= len(corpus) or rng.random() < 0.5:
            data = target.mutate(data, rng, corpus)
        try:
            target.take(data, rng)
        except Exception as error:
            shown = data if len(data) <= 300 else data[:300] + b"..."
            raise Finding(f"{name}: seed {seed}, input {number}: {error!r}: {shown!r}") from error


class Finding(Exception):
    """An input that does what none may do."""
