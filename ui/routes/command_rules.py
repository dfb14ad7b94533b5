"""Commands from pages: who may send them, how often, and their bodies. The pure half of the POST routes."""

import threading
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from bus.trading.asked import asked
from bus.trading.killswitch import BY_HAND
from bus.trading.shapes import (
    AnyCommand,
    AskedCount,
    AskedPrice,
    ByHandCommand,
    ConfirmCommand,
    KillCommand,
    NumberAsked,
    PauseCommand,
    PrepareCancelCommand,
    PrepareCommand,
    PrepareFlattenCommand,
    PrepareSaleCommand,
    ResumeCommand,
    SecondsAsked,
    TickerText,
)
from markets.errors import BadRecord
from ui.watchlist import TICKER_MAX

HEADER: Final = "X-Kalshi-Bus"
VALUE: Final = "command"
"""A header that no form can send; another site's script would need a CORS preflight, which never succeeds."""

BODY_MAX: Final = 16_384
_NOT_JSON: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What decoding a body may raise. A byte that is not UTF-8 inside a string does not raise DecodeError."""

WORD_MAX: Final = 200

BURST: Final = 5
PER_SECOND: Final = 0.5

TICKET_BURST: Final = 20
TICKETS_PER_SECOND: Final = 2.0
"""For prepare and confirm: orders are cancelled one by one."""

STAR_BURST: Final = 30
STARS_PER_SECOND: Final = 5.0
"""For the watchlist: people star one market after another, and each writes one small file."""

BY_HAND_HERE: Final = f"{BY_HAND} on the dashboard"


class ReasonBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of kill and pause."""

    reason: str = ""


class WordBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of resume. `word` is required after a kill."""

    word: str = ""


class PrepareBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of prepare, to buy: bus.trading.shapes.PrepareCommand without its op."""

    ticker: TickerText
    side: Literal["yes", "no"]
    count: AskedCount
    price: AskedPrice
    rest_seconds: SecondsAsked | None = None
    what: Literal["buy"] = "buy"


class PrepareSaleBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of prepare, to sell; `count` null: all, `price` null: at the bids."""

    what: Literal["sell"]
    ticker: TickerText
    count: AskedCount | None = None
    price: AskedPrice | None = None


class PrepareCancelBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of prepare, to cancel."""

    what: Literal["cancel"]
    number: NumberAsked


class PrepareFlattenBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of prepare, to flatten."""

    what: Literal["flatten"]


class ConfirmBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of confirm."""

    ticket: NumberAsked


class Replay(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a command to a replay: its `action`, with `speed` (0: as fast as possible) or `to_ms`."""

    action: Literal["pause", "resume", "speed", "seek"]
    speed: Annotated[float, msgspec.Meta(ge=0, le=10_000, description="a number from 0 to 10000")] | None = (
        None
    )
    to_ms: Annotated[int, msgspec.Meta(ge=0, le=10**14, description="ms since 1970")] | None = None


AnyPrepareBody = PrepareBody | PrepareSaleBody | PrepareCancelBody | PrepareFlattenBody
AnyBody = ReasonBody | WordBody | AnyPrepareBody | ConfirmBody

BODIES: Final[dict[str, type[AnyBody]]] = {
    "kill": ReasonBody,
    "pause": ReasonBody,
    "resume": WordBody,
    "prepare": PrepareBody,
    "confirm": ConfirmBody,
}
"""The bodies of the commands to the trader."""

PREPARE_BODIES: Final[dict[str, type[AnyPrepareBody]]] = {
    "buy": PrepareBody,
    "sell": PrepareSaleBody,
    "cancel": PrepareCancelBody,
    "flatten": PrepareFlattenBody,
}
"""The bodies of prepare, by its `what`."""


def foreign(headers: Mapping[str, str], host: str) -> str | None:
    """Return why a request cannot come from our page or a local program; None if it can."""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site not in (None, "same-origin", "none"):
        return f"Sec-Fetch-Site: got {site[:20]}, expected same-origin"
    if origin is not None and origin.lower() != f"http://{host}".lower():
        return "Origin: expected this dashboard's own"
    if headers.get(HEADER) != VALUE:
        return f"{HEADER}: expected {VALUE}"
    return None


def read_members(op: str, body: bytes) -> dict[str, Any]:
    """Return the members of a request's body; none of an empty one.

    Raises:
        BadRecord: it is not a JSON object.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except _NOT_JSON as error:
        raise BadRecord("body", body[:50].decode("latin-1"), f"a JSON object for {op} ({error})") from None


def read_body(op: str, body: bytes) -> AnyCommand | ByHandCommand:
    """Return the command to the trader in a request's body.

    Raises:
        BadRecord: the body does not fit the command.
    """
    given = read_members(op, body)
    type_ = BODIES[op]
    if op == "prepare":
        what = given.get("what", "buy")
        if not isinstance(what, str) or what not in PREPARE_BODIES:
            raise BadRecord("what", what, f"one of {', '.join(PREPARE_BODIES)}")
        type_ = PREPARE_BODIES[what]
    read = asked(given, type_)
    if isinstance(read, ReasonBody):
        reason = read.reason.strip() or BY_HAND_HERE
        return KillCommand(reason=reason) if op == "kill" else PauseCommand(reason=reason)
    if isinstance(read, WordBody):
        if len(read.word) > WORD_MAX:
            raise BadRecord("word", read.word[:50], f"at most {WORD_MAX} characters")
        return ResumeCommand(word=read.word)
    return _by_hand(read)


def _by_hand(read: AnyPrepareBody | ConfirmBody) -> ByHandCommand:
    match read:
        case PrepareBody():
            return PrepareCommand(
                ticker=read.ticker,
                side=read.side,
                count_fp=read.count,
                price_dollars=read.price,
                rest_seconds=read.rest_seconds,
            )
        case PrepareSaleBody():
            return PrepareSaleCommand(ticker=read.ticker, count_fp=read.count, price_dollars=read.price)
        case PrepareCancelBody():
            return PrepareCancelCommand(number=read.number)
        case PrepareFlattenBody():
            return PrepareFlattenCommand()
        case ConfirmBody():
            return ConfirmCommand(ticket=read.ticket)


def read_replay(body: bytes) -> dict[str, Any]:
    """Return the parameters of a command to a replay.

    Raises:
        BadRecord: the body does not fit.
    """
    read = asked(read_members("replay", body), Replay)
    wanted = {"speed": "speed", "seek": "to_ms"}.get(read.action)
    if wanted is None:
        return {"action": read.action}
    value = getattr(read, wanted)
    if value is None:
        raise BadRecord(wanted, "", f"a number, for {read.action}")
    return {"action": read.action, wanted: "max" if wanted == "speed" and not value else value}


class StarBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of watchlist: a market, and whether it should be on it."""

    ticker: str
    starred: bool


def read_star(body: bytes) -> StarBody:
    """Return the change of the watchlist in a request's body.

    Raises:
        BadRecord: the body does not fit.
    """
    read = asked(read_members("watchlist", body), StarBody)
    if not 0 < len(read.ticker) <= TICKER_MAX:
        raise BadRecord("ticker", read.ticker[:50], f"1 to {TICKER_MAX} characters")
    return read


class CommandRate:
    """A token bucket for one command. Each command has its own: no other can use up the kill switch's."""

    def __init__(self, burst: int = BURST, per_second: float = PER_SECOND) -> None:
        self._burst, self._per_second = float(burst), per_second
        self._tokens = self._burst
        self._at_ns = 0
        self._lock = threading.Lock()

    def take(self, now_ns: int) -> bool:
        """Take a token; return whether there was one."""
        with self._lock:
            passed_s = (now_ns - self._at_ns) / 1e9 if self._at_ns else 0.0
            self._tokens = min(self._burst, self._tokens + passed_s * self._per_second)
            self._at_ns = now_ns
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
