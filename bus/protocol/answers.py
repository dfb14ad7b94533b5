"""What both `state` and `query` answer: one msgpack map in, one map (and chunks) out. Sans-I/O.

docs/protocol.md sections 7 and 8. A bad question gets one clear error and never harms the next one.

Long answers are made in slices of a few milliseconds, and between two of them the server does its other work.
The lock of the state is held only to note what there is (State.capture), some streams at a time, and never
while anything is encoded.
"""

import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
import structlog
import zstandard

from bus.threads import Owner
from markets.errors import DecodeError, KalshiBusError

from .digest import MASK
from .memory import compressed
from .messages import (
    CycleEnd,
    SnapshotHead,
    encode_chunk,
    encode_map,
    schema,
    unpack_map,
)
from .state import LANE, Capture, Captured, State, Stream, Version

log = structlog.get_logger()

MAX_QUESTION_BYTES: Final = 1_000_000
MAX_WISHED: Final = 1_000
CAPTURE_RECORDS: Final = 1_000
"""How many records, of a large stream too, are noted under one lock: half a millisecond, two with cold
caches."""

LAST_RECORDS: Final = 1_000
"""With this few left to note, they are noted under the same lock under which they were found."""

SETTLE_RECORDS: Final = 300
"""How many quotes are hashed under one lock: a third of a millisecond, twice that with cold caches."""

STREAMS_AT_ONCE: Final = 500
"""How many streams are listed in a slice: about half a millisecond."""

ENCODE_RECORDS: Final = 500
"""How many records are encoded in a slice: about two milliseconds. Not fewer, since between two slices a
computing thread may take the interpreter."""

PASSES: Final = 20
"""How often what has changed meanwhile is noted again in slices, before all of it is noted in one."""

WISHES: Final = ("book", "candles", "market")
"""What one may wish for with op `watch`."""

LATER_MS: Final = 30_000
LATER_MOST: Final = 100
"""The most answers waited for at the same time."""

SLICED_MOST: Final = 1_000
SLICED_BYTES: Final = 32 * 1_048_576
"""How many questions whose answers are made in slices may wait, and of how many bytes."""

_encode_map: Final = msgspec.msgpack.Encoder().encode

OnWish = Callable[[list[str], float, int, str], None]


class Refusal(KalshiBusError):
    """An error that is the answer to a question."""

    def __init__(self, code: str, message: str, retry_ms: int | None = None) -> None:
        self.code = code
        self.retry_ms = retry_ms
        super().__init__(message)


_CRASHED: Final = Refusal("internal", "the server could not answer; its log says why")


class Frames(list[bytes]):
    """A multipart answer that is already encoded."""


class Later(NamedTuple):
    """An answer that is not ready yet: `look` is called until it returns it.

    Like a handler, it may raise Refusal. After LATER_MS it is no longer waited for.
    """

    look: Callable[[], "dict[str, Any] | None"]


class _Pending(msgspec.Struct):
    """An answer waited for: the id of its question, the envelope of the asker, and until when."""

    id: Any
    look: Callable[[], "dict[str, Any] | None"]
    to: Sequence[bytes] = ()
    until_ms: int = 0


class Sliced(NamedTuple):
    """An answer made in slices: `slices` returns it at its end.

    `soon`: it is made before those that are not.
    """

    slices: Generator[None, None, "dict[str, Any] | Frames"]
    soon: bool


class _Making(NamedTuple):
    """An answer being made: for whom, the id of its question, and the question's size in bytes."""

    to: Sequence[bytes]
    id: Any
    slices: Generator[None, None, "dict[str, Any] | Frames"]
    size: int


Question = Mapping[str, Any]
Handler = Callable[[Question, int], "dict[str, Any] | Frames | Later | Sliced"]


class Answers:
    """Dispatch of questions. One thread answers.

    Args:
        state: gives the state to answer from, or None while there is none.
        source: gives "live" or "replay".
        on_wish: takes (tickers, ttl_s, now_ms, what) of a `watch`; `what` is one of WISHES.

    Attributes:
        errors: questions refused, or whose answers reached nobody.
        wholes: how often a whole state was asked for; any thread may read it.
        repairs: how often what changed since a number was asked for; any thread may read it.
    """

    def __init__(
        self,
        state: Callable[[], State | None],
        source: Callable[[], str] = lambda: "live",
        on_wish: OnWish | None = None,
    ) -> None:
        self._state = state
        self._source = source
        self._on_wish = on_wish
        self._chunks: Encoded = {}
        self._chunks_of: weakref.ref[State] | None = None
        self._making: dict[bool, deque[_Making]] = {True: deque(), False: deque()}
        self._compress = zstandard.ZstdCompressor(level=1)
        self._owner = Owner("the answers of a server")
        self._pending: list[_Pending] = []
        self.errors = 0
        self.wholes = 0
        self.repairs = 0
        self._handlers: dict[str, tuple[Handler, frozenset[str]]] = {}
        self.add("ping", self._ping)
        self.add("schema", lambda _question, _now_ms: schema())
        self.add("digest", self._digest)
        self.add("snapshot", self._snapshot, "streams", "since", "also", "epoch")
        if on_wish is not None:
            self.add("watch", self._wish, "tickers", "ttl_s", "what")

    def take(self) -> None:
        """Hand over to the calling thread, the one that answers from now on."""
        self._owner.take()

    def add(self, op: str, handler: Handler, *parameters: str) -> None:
        """Answer `op` with `handler`; parameters not named are refused."""
        self._handlers[op] = (handler, frozenset(parameters) | {"op", "id"})

    def answer(self, question: bytes, now_ms: int) -> list[bytes]:
        """Return the frames that answer a question, whatever its bytes; all slices are made."""
        id_, result = self._handle(question, now_ms)
        if isinstance(result, Sliced):
            making = _Making((), id_, result.slices, 0)
            while (frames := self._slice(making)) is None:
                pass
            return frames
        return self._framed(id_, result)

    def begin(self, question: bytes, now_ms: int, to: Sequence[bytes], steady_ms: int) -> list[bytes]:
        """As `answer`, for a server that has other work: returns none while there are slices to make.

        What is not answered at once is returned by `due`.

        Args:
            to: the envelope of the asker.
            steady_ms: now by the clock of `due`.
        """
        id_, result = self._handle(question, now_ms)
        if isinstance(result, Sliced):
            waiting = [*self._making[True], *self._making[False]]
            size = len(question) + sum(making.size for making in waiting)
            if len(waiting) >= SLICED_MOST or size > SLICED_BYTES:
                self.errors += 1
                return self._refuse(id_, Refusal("busy", "too many wait for an answer", retry_ms=1_000))
            self._making[result.soon].append(_Making(to, id_, result.slices, len(question)))
            return []
        frames = self._framed(id_, result)
        if not frames:
            pending = self._pending[-1]
            pending.to, pending.until_ms = to, steady_ms + LATER_MS
        return frames

    @property
    def busy(self) -> bool:
        """Whether there are slices to make: `due` should be called again at once."""
        return bool(self._making[True] or self._making[False])

    def _handle(self, question: bytes, now_ms: int) -> "tuple[Any, dict[str, Any] | Frames | Later | Sliced]":
        self._owner.check()
        id_: Any = None
        try:
            decoded = self._decode(question)
            id_ = decoded.get("id")
            op = decoded.get("op")
            if not isinstance(op, str) or op not in self._handlers:
                raise Refusal(
                    "unknown_op", f"op: got {op!r:.50}, expected one of {', '.join(sorted(self._handlers))}"
                )
            handler, parameters = self._handlers[op]
            unknown = sorted(set(decoded) - parameters)
            if unknown:
                allowed = ", ".join(sorted(parameters - {"op", "id"})) or "none"
                raise Refusal(
                    "bad_request", f"{op}: got unknown parameter {unknown[0]!r:.50}, expected {allowed}"
                )
            return id_, handler(decoded, now_ms)
        except Refusal as refusal:
            self.errors += 1
            return id_, Frames(self._refuse(id_, refusal))
        except Exception:
            # One question must not end the service for the others.
            log.exception("question.crashed", question=question[:200])
            self.errors += 1
            return id_, Frames(self._refuse(id_, _CRASHED))

    def _framed(self, id_: Any, result: "dict[str, Any] | Frames | Later") -> list[bytes]:
        if isinstance(result, Frames):
            return result
        if isinstance(result, Later):
            if len(self._pending) >= LATER_MOST:
                self.errors += 1
                return self._refuse(id_, Refusal("busy", "too many wait for an answer", retry_ms=1_000))
            self._pending.append(_Pending(id_, result.look))
            return []
        return self._encoded(id_, result)

    def _encoded(self, id_: Any, result: dict[str, Any]) -> list[bytes]:
        """Return the frames of an answer; of one that cannot be encoded, those of a refusal."""
        try:
            return [_encode_map({"ok": True, "id": id_, **result})]
        except Exception:
            log.exception("question.crashed")
            self.errors += 1
            return self._refuse(id_, _CRASHED)

    def _slice(self, making: _Making) -> list[bytes] | None:
        """Make the next slice of an answer; return its frames once it is complete."""
        try:
            next(making.slices)
        except StopIteration as end:
            return self._framed(making.id, end.value)
        except Refusal as refusal:
            self.errors += 1
            return self._refuse(making.id, refusal)
        except Exception:
            log.exception("question.crashed")
            self.errors += 1
            return self._refuse(making.id, _CRASHED)
        return None

    def due(self, steady_ms: int) -> list[list[bytes]]:
        """Return the answers that have become ready, each behind the envelope of its asker.

        Of those made in slices, it makes the next slice of one while the others wait: one after another, they
        are finished sooner than all at once.
        """
        self._owner.check()
        told: list[list[bytes]] = []
        making = self._making[True] or self._making[False]
        if making:
            frames = self._slice(making[0])
            if frames is not None:
                told.append([*making.popleft().to, *frames])
        if not self._pending:
            return told
        waiting: list[_Pending] = []
        for pending in self._pending:
            try:
                result = pending.look()
                if result is None and steady_ms >= pending.until_ms:
                    raise Refusal("busy", f"no answer within {LATER_MS // 1000} s", retry_ms=1_000)
            except Refusal as refusal:
                self.errors += 1
                told.append([*pending.to, *self._refuse(pending.id, refusal)])
                continue
            except Exception:
                log.exception("question.crashed")
                self.errors += 1
                told.append([*pending.to, *self._refuse(pending.id, _CRASHED)])
                continue
            if result is None:
                waiting.append(pending)
            else:
                told.append([*pending.to, *self._encoded(pending.id, result)])
        self._pending = waiting
        return told

    @staticmethod
    def _refuse(id_: Any, refusal: Refusal) -> list[bytes]:
        error: dict[str, Any] = {"code": refusal.code, "message": str(refusal)}
        if refusal.retry_ms is not None:
            error["retry_ms"] = refusal.retry_ms
        return [encode_map({"ok": False, "id": id_, "error": error})]

    def ready_state(self) -> State:
        """Return the state to answer from.

        Raises:
            Refusal: `not_ready`: there is none yet.
        """
        state = self._state()
        if state is None or not state.epoch:
            raise Refusal(
                "not_ready", "no epoch is open yet: nothing has been fetched or loaded", retry_ms=100
            )
        return state

    @staticmethod
    def _decode(question: bytes) -> dict[str, Any]:
        if len(question) > MAX_QUESTION_BYTES:
            raise Refusal("bad_request", f"got {len(question)} bytes, expected at most {MAX_QUESTION_BYTES}")
        try:
            decoded = unpack_map(question)
        except DecodeError as error:
            raise Refusal("bad_request", f"{error}: expected a map with op and id") from None
        id_ = decoded.get("id")
        if not isinstance(id_, (int, str, bytes, type(None))):
            decoded["id"] = None
            raise Refusal("bad_request", "id: expected an integer, a string or bytes")
        return decoded

    def _ping(self, _question: Question, now_ms: int) -> dict[str, Any]:
        state = self._state()
        return {"epoch": state.epoch if state else 0, "seq": state.seq if state else 0, "now_ms": now_ms}

    def _digest(self, _question: Question, _now_ms: int) -> Sliced:
        return Sliced(self._digest_slices(self.ready_state()), soon=False)

    def _digest_slices(self, state: State) -> Generator[None, None, dict[str, Any]]:
        cut = Cut(state, None, frozenset(), frozenset(("",)), None)
        yield from cut.take()
        digest, streams = 0, {}
        for number, one in enumerate(cut.captured.values()):
            digest += sum(one.digests)
            streams[one.topic] = (one.last, *one.digests)
            if number % STREAMS_AT_ONCE == STREAMS_AT_ONCE - 1:
                yield
        return {"epoch": state.epoch, "seq": cut.seq, "digest": f"{digest & MASK:016x}", "streams": streams}

    def _wish(self, question: Question, now_ms: int) -> dict[str, Any]:
        tickers = question.get("tickers")
        ttl_s = question.get("ttl_s", 60)
        if not isinstance(tickers, list) or not all(
            isinstance(t, str) and 0 < len(t) <= 200 for t in tickers
        ):
            raise Refusal("bad_request", "tickers: expected a list of market tickers")
        if len(tickers) > MAX_WISHED:
            raise Refusal("bad_request", f"tickers: got {len(tickers)}, expected at most {MAX_WISHED}")
        if isinstance(ttl_s, bool) or not isinstance(ttl_s, (int, float)) or not 0 < ttl_s <= 3600:
            raise Refusal("bad_request", f"ttl_s: got {ttl_s!r:.50}, expected seconds up to 3600")
        what = question.get("what", "book")
        if what not in WISHES:
            raise Refusal("bad_request", f"what: got {what!r:.50}, expected one of {', '.join(WISHES)}")
        assert self._on_wish is not None
        self._on_wish(tickers, float(ttl_s), now_ms, what)
        return {"watched": len(tickers)}

    # -- snapshots

    def _snapshot(self, question: Question, now_ms: int) -> Sliced:
        state = self.ready_state()
        since, also, prefixes = question.get("since"), question.get("also", []), question.get("streams", [""])
        epoch = question.get("epoch", 0)
        if since is not None and (isinstance(since, bool) or not isinstance(since, int)):
            raise Refusal("bad_request", f"since: got {since!r:.50}, expected a sequence number")
        for name, value in (("also", also), ("streams", prefixes)):
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise Refusal("bad_request", f"{name}: expected a list of topics")
        if not isinstance(epoch, int):
            raise Refusal("bad_request", f"epoch: got {epoch!r:.50}, expected an integer")
        if epoch > state.epoch:
            raise Refusal("epoch_behind", f"this server is at epoch {state.epoch}", retry_ms=50)
        if self._chunks_of is None or self._chunks_of() is not state:
            self._chunks, self._chunks_of = {}, weakref.ref(state)
        cut = Cut(state, since, frozenset(also), frozenset(prefixes), self._chunks)
        self.wholes += since is None
        self.repairs += since is not None
        # What changed since a number is little, and the asker shows old data until it comes.
        slices = self._snapshot_slices(question.get("id"), state, cut, self._chunks, now_ms)
        return Sliced(slices, soon=since is not None)

    def _snapshot_slices(
        self, id_: Any, state: State, cut: "Cut", known: "Encoded", now_ms: int
    ) -> Generator[None, None, Frames]:
        yield from cut.take()
        frames: list[bytes] = []
        streams: dict[str, int] = {}
        digest = 0
        waiting: list[Captured] = []
        size = 0
        for number, one in enumerate(cut.captured.values()):
            streams[one.topic] = one.last
            digest += sum(one.digests)
            if one.topic in cut.ready:
                frames += cut.ready[one.topic]
            elif _records(one) > ENCODE_RECORDS:
                own: list[bytes] = []
                for chunk in state.chunks(one):
                    own += compressed(self._compress, [encode_chunk(chunk)])
                    yield
                known[one.topic] = (one.version, own)
                frames += own
            else:
                waiting.append(one)
                size += _records(one)
            if size >= ENCODE_RECORDS or number % STREAMS_AT_ONCE == STREAMS_AT_ONCE - 1:
                frames += self._encode(state, waiting, known)
                waiting, size = [], 0
                yield
        frames += self._encode(state, waiting, known)
        yield
        head = SnapshotHead(
            epoch=state.epoch,
            as_of=cut.seq,
            streams=streams,
            chunks=len(frames),
            now_ms=now_ms,
            cycle=cut.cycle,
            source=self._source(),
            fields=cut.fields,
            ages=cut.ages,
            digest=digest & MASK,
        )
        answer = {"ok": True, "id": id_, **msgspec.structs.asdict(head)}
        return Frames([_encode_map(answer), *frames])

    def _encode(self, state: State, captured: Sequence[Captured], known: "Encoded") -> list[bytes]:
        """Encode captured streams, put the frames of each into `known`, and return them all."""
        made = [(one, list(map(encode_chunk, state.chunks(one)))) for one in captured]
        frames = compressed(self._compress, [body for _, bodies in made for body in bodies])
        each = iter(frames)
        for one, bodies in made:
            known[one.topic] = (one.version, list(islice(each, len(bodies))))
        return frames


Encoded = dict[str, tuple[Version, list[bytes]]]
"""Streams by topic, as they were at a version: the frames of their chunks."""


class Cut:
    """Some streams of a state as they are at one moment, captured while the state moves on.

    Streams are noted one after another, in slices; what has changed meanwhile is noted again, until so little
    is left that it can be done under one lock. That is the moment.

    Args:
        state: to note from. One thread notes, any thread may change it.
        since, also, prefixes: which streams, as in op `snapshot`.
        known: streams already encoded, whose records need not be noted; None if none are wanted.

    Attributes:
        captured: the streams, by topic.
        ready: the frames of those already known in their present form.
        seq, cycle, ages, fields: the state's, at that moment.
    """

    def __init__(
        self,
        state: State,
        since: int | None,
        also: AbstractSet[str],
        prefixes: AbstractSet[str],
        known: Encoded | None,
    ) -> None:
        self.captured: dict[str, Captured] = {}
        self.ready: dict[str, list[bytes]] = {}
        self.seq = 0
        self.cycle: CycleEnd | None = None
        self.ages: dict[str, int] = {}
        self.fields: dict[str, int] = {}
        self._state = state
        self._since = since
        self._also = also
        self._prefixes = prefixes
        self._known = known
        self._part: Capture | None = None
        self._restarts = 0

    def take(self) -> Iterator[None]:
        """Note everything, one slice at a time."""
        state = self._state
        with state.lock:
            seen = state.seq, state.reworked
            missing = _wanted(state, self._since, self._also, self._prefixes)
            if self._fits(missing):
                self._end(missing)
                return
        yield
        for _ in range(PASSES):
            while missing:
                with state.lock:
                    self._some(missing)
                yield
            with state.lock:
                missing, seen = self._missing(seen), (state.seq, state.reworked)
                if self._fits(missing):
                    self._end(missing)
                    return
            yield
        with state.lock:
            self._end({*missing, *self._missing(seen)})

    def _fits(self, missing: Sequence[str]) -> bool:
        """Tell whether these streams can be noted in one slice."""
        left, settle = LAST_RECORDS, SETTLE_RECORDS
        for topic in missing:
            left -= self._size(topic)
            settle -= _fresh(self._state, topic)
            if left < 0 or settle < 0:
                return False
        return True

    def _some(self, missing: list[str]) -> None:
        """Note as many of these streams as fit into a slice, and take them from the list."""
        state = self._state
        left, settle = CAPTURE_RECORDS, SETTLE_RECORDS
        while missing and left > 0 and settle > 0:
            topic = missing[-1]
            fresh, size = _fresh(state, topic), self._size(topic)
            if fresh > settle:
                state.settle(state.streams[topic], settle)
                return
            settle -= fresh
            if size > CAPTURE_RECORDS and self._restarts < PASSES:
                if not self._note_part(topic, left):
                    return
            else:
                self._note(topic)
            left -= size
            missing.pop()

    def _end(self, missing: Iterable[str]) -> None:
        state = self._state
        for topic in missing:
            self._note(topic)
        self.seq, self.cycle = state.seq, state.cycle
        self.ages, self.fields = dict(state.ages), state.fields

    def _size(self, topic: str) -> int:
        """Return the cost of noting a stream, in records."""
        stream = self._state.streams[topic]
        if self._known is None or self._is_known(stream):
            return 15
        return 15 + sum(map(len, stream.keys.values()))

    def _is_known(self, stream: Stream) -> bool:
        found = None if self._known is None else self._known.get(stream.topic)
        return found is not None and found[0] == stream.version

    def _note(self, topic: str) -> None:
        state, known = self._state, self._known
        stream = state.streams[topic]
        if known is not None and not self._is_known(stream):
            self.ready.pop(topic, None)
            self.captured[topic] = state.capture(topic)
            return
        if known is not None:
            self.ready[topic] = known[topic][1]
        _, static, quote, book, reference = state.position(topic)
        self.captured[topic] = Captured(topic, stream.version, (static, quote, book, reference), ())

    def _note_part(self, topic: str, limit: int) -> bool:
        """Note this many more records of a large stream; return whether it is complete."""
        stream = self._state.streams[topic]
        part = self._part
        if part is None or part.topic != topic or part.version != stream.version:
            self._restarts += part is not None and part.topic == topic
            part = self._part = Capture(self._state, topic)
        captured = part.more(limit)
        if captured is None:
            return False
        self._part = None
        self.ready.pop(topic, None)
        self.captured[topic] = captured
        return True

    def _missing(self, seen: tuple[int, int]) -> list[str]:
        """Return the topics that are wanted and not noted as they are now.

        Args:
            seen: `seq` and `reworked` of the state at the last search; what was found then has been noted, so
                only what has moved since can be missing.
        """
        state, captured = self._state, self.captured
        if state.reworked == seen[1]:
            moved = [stream.topic for stream in state.streams.values() if stream.last > seen[0]]
            return _under(moved, self._prefixes)
        return [
            topic
            for topic in _wanted(state, self._since, self._also, self._prefixes)
            if topic not in captured or captured[topic].version != state.streams[topic].version
        ]


def _fresh(state: State, topic: str) -> int:
    """Return how many records of a stream are to be hashed."""
    return sum(len(keys) for kind, keys in state.streams[topic].fresh.items() if kind in LANE)


def _records(captured: Captured) -> int:
    return 1 + sum(len(records) for _, records, _ in captured.content)


def _wanted(state: State, since: int | None, also: AbstractSet[str], prefixes: AbstractSet[str]) -> list[str]:
    """Return the topics that a question for a snapshot means, quickly no matter how many it names."""
    with state.lock:
        topics = [
            t for t, stream in state.streams.items() if since is None or stream.last > since or t in also
        ]
    return _under(topics, prefixes)


def _under(topics: list[str], prefixes: AbstractSet[str]) -> list[str]:
    """Return those of the topics that have one of the prefixes."""
    if "" in prefixes:
        return topics
    longest = max(map(len, topics), default=0)
    lengths = {len(prefix) for prefix in prefixes if len(prefix) <= longest}
    return [topic for topic in topics if any(topic[:length] in prefixes for length in lengths)]
