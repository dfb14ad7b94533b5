"""What `state` and `query` answer to everybody: one msgpack map in, one map (and chunks) out. Sans-I/O.

docs/protocol.md sections 7 and 8. A bad question gets one clear error and never harms the next one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    SnapshotHead,
    encode_chunk,
    encode_map,
    schema,
    unpack_map,
)
from .state import Position, State

log = structlog.get_logger()

MAX_QUESTION_BYTES: Final = 1_000_000
MAX_WISHED: Final = 1_000
STREAMS_AT_ONCE: Final = 50
"""Encoded under one lock: a few milliseconds where each has 26 markets."""

WISHES: Final = ("book", "candles", "market")
"""What op `watch` may wish for."""

LATER_MS: Final = 30_000
LATER_MOST: Final = 100
"""Answers that are waited for at once."""

OnWish = Callable[[list[str], float, int, str], None]


class Refusal(KalshiBusError):
    """An error that is the answer to a question."""

    def __init__(self, code: str, message: str, retry_ms: int | None = None) -> None:
        self.code = code
        self.retry_ms = retry_ms
        super().__init__(message)


class Frames(list[bytes]):
    """A multipart answer that is already encoded."""


class Later(NamedTuple):
    """An answer that is not there yet: `look` returns it once it is, and is called until it does.

    It may raise Refusal as a handler may. After LATER_MS nobody waits for it any more.
    """

    look: Callable[[], "dict[str, Any] | None"]


class _Pending(msgspec.Struct):
    """An answer that is waited for: the id of its question, the envelope of whoever asked, and until when."""

    id: Any
    look: Callable[[], "dict[str, Any] | None"]
    to: Sequence[bytes] = ()
    until_ms: int = 0


Question = Mapping[str, Any]
Handler = Callable[[Question, int], "dict[str, Any] | Frames | Later"]


class Answers:
    """Dispatch of questions. One thread answers.

    Args:
        state: gives the state to answer from, or None while there is none.
        source: gives "live" or "replay".
        on_wish: takes (tickers, ttl_s, now_ms, what) of a `watch`; `what` is one of WISHES.
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
        self._chunks: dict[str, tuple[Position, list[bytes]]] = {}
        self._chunks_epoch = 0
        self._compress = zstandard.ZstdCompressor(level=1)
        self._owner = Owner("the answers of a server")
        self._pending: list[_Pending] = []
        self.errors = 0
        self._handlers: dict[str, tuple[Handler, frozenset[str]]] = {}
        self.add("ping", self._ping)
        self.add("schema", lambda _question, _now_ms: schema())
        self.add("digest", self._digest)
        self.add("snapshot", self._snapshot, "streams", "since", "also", "epoch")
        if on_wish is not None:
            self.add("watch", self._wish, "tickers", "ttl_s", "what")

    def take(self) -> None:
        """Hand over to the calling thread, the one to answer from here on."""
        self._owner.take()

    def add(self, op: str, handler: Handler, *parameters: str) -> None:
        """Answer `op` with `handler`; any parameter not named is refused."""
        self._handlers[op] = (handler, frozenset(parameters) | {"op", "id"})

    def answer(self, question: bytes, now_ms: int) -> list[bytes]:
        """Return the frames that answer a question, whatever its bytes; none if they come later (`wait`)."""
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
            result = handler(decoded, now_ms)
            if isinstance(result, Frames):
                return result
            if isinstance(result, Later):
                if len(self._pending) >= LATER_MOST:
                    raise Refusal("busy", f"{op}: too many wait for an answer", retry_ms=1_000)
                self._pending.append(_Pending(id_, result.look))
                return []
            return [encode_map({"ok": True, "id": id_, **result})]
        except Refusal as refusal:
            self.errors += 1
            return self._refuse(id_, refusal)
        except Exception:
            # One question must not end the service for the others.
            log.exception("question.crashed", question=question[:200])
            self.errors += 1
            return self._refuse(id_, Refusal("internal", "the server could not answer; its log says why"))

    def wait(self, to: Sequence[bytes], steady_ms: int) -> None:
        """Note who waits for the answer that `answer` has just not given; `due` returns it."""
        self._owner.check()
        pending = self._pending[-1]
        pending.to, pending.until_ms = to, steady_ms + LATER_MS

    def due(self, steady_ms: int) -> list[list[bytes]]:
        """Return the answers that have become known, each behind the envelope of whoever asked."""
        self._owner.check()
        if not self._pending:
            return []
        told: list[list[bytes]] = []
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
                crashed = Refusal("internal", "the server could not answer; its log says why")
                told.append([*pending.to, *self._refuse(pending.id, crashed)])
                continue
            if result is None:
                waiting.append(pending)
            else:
                told.append([*pending.to, encode_map({"ok": True, "id": pending.id, **result})])
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
            Refusal: `not_ready`, there is none yet.
        """
        state = self._state()
        if state is None or not state.epoch:
            raise Refusal(
                "not_ready", "no epoch is open yet: nothing has been fetched or loaded", retry_ms=250
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

    def _digest(self, _question: Question, _now_ms: int) -> dict[str, Any]:
        state = self.ready_state()
        with state.lock:
            return {
                "epoch": state.epoch,
                "seq": state.seq,
                "digest": f"{state.digest():016x}",
                "streams": {topic: list(state.position(topic)) for topic in state.streams},
            }

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

    def _snapshot(self, question: Question, now_ms: int) -> Frames:
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
            raise Refusal("epoch_behind", f"this server is at epoch {state.epoch}", retry_ms=250)

        wanted = _wanted(state, since, frozenset(also), frozenset(prefixes))
        # Most of the work is done some streams at a time, so that the lock is never held for long; what
        # changed meanwhile is done again under one lock, which makes all of it the state at one position.
        for first in range(0, len(wanted), STREAMS_AT_ONCE):
            self._encode(state, wanted[first : first + STREAMS_AT_ONCE])
        with state.lock:
            wanted = _wanted(state, since, frozenset(also), frozenset(prefixes))
            self._encode(state, wanted)
            chunks = [chunk for topic in wanted for chunk in self._chunks[topic][1]]
            head = SnapshotHead(
                epoch=state.epoch,
                as_of=state.seq,
                streams={topic: state.streams[topic].last for topic in wanted},
                chunks=len(chunks),
                now_ms=now_ms,
                cycle=state.cycle,
                source=self._source(),
                fields=state.fields,
                ages=dict(state.ages),
                digest=sum(sum(self._chunks[topic][0][1:]) for topic in wanted) & MASK,
            )
        answer = {"ok": True, "id": question.get("id"), **msgspec.to_builtins(head)}
        return Frames([encode_map(answer), *chunks])

    def _encode(self, state: State, topics: Iterable[str]) -> None:
        """Have in `_chunks` these streams as they are."""
        if self._chunks_epoch != state.epoch:
            self._chunks, self._chunks_epoch = {}, state.epoch
        known = self._chunks
        made: list[tuple[str, Position, int]] = []
        bodies: list[bytes] = []
        with state.lock:
            for topic in topics:
                version = state.position(topic)
                if topic not in known or known[topic][0] != version:
                    chunks = state.chunk(topic)
                    made.append((topic, version, len(chunks)))
                    bodies += map(encode_chunk, chunks)
        frames = iter(compressed(self._compress, bodies))
        for topic, version, count in made:
            known[topic] = (version, list(islice(frames, count)))


def _wanted(state: State, since: int | None, also: AbstractSet[str], prefixes: AbstractSet[str]) -> list[str]:
    """Return the topics that a question for a snapshot means, quickly however many it names."""
    with state.lock:
        topics = [
            t for t, stream in state.streams.items() if since is None or stream.last > since or t in also
        ]
    longest = max(map(len, topics), default=0)
    lengths = {len(prefix) for prefix in prefixes if len(prefix) <= longest}
    return [topic for topic in topics if any(topic[:length] in prefixes for length in lengths)]
