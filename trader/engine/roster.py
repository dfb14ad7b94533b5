"""The strategies of a session: calls them, and drops those that raise an error or return nonsense. Pure.

A dropped strategy is not called again in this session. Whatever it held is still settled and evened out, and
all others trade on. Dropping is an output of the engine, so that a replay of the log repeats it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

import msgspec

from markets.orders import AmendWanted, AnyWanted, CancelWanted, Fill, Intent, Proposal, Wanted
from markets.records import Event
from markets.texts import utf8
from trader.extensions.faults import lines_of, trace_of
from trader.strategies import BUILT_IN, LoadStrategy, Quiet, Strategy, StrategyMaker, Update

from .inputs import RULES
from .outputs import Dropped

MAX_PROPOSALS: Final = 1_000
MAX_KIND: Final = 100
MAX_TEXT: Final = 200
"""How many characters any text of a proposal may have: more than any ticker."""

MAX_NUMBER: Final = 10**30
"""Beyond this, a number is a strategy's mistake; risk refuses merely unreal ones, as from an odd quote."""

T = TypeVar("T")


class Calls(Protocol):
    """Is told of every call of a strategy; implemented by a shell, which has a clock."""

    def begins(self, strategy: str, call: str) -> None:
        """Note that a call begins."""
        ...

    def ends(self) -> None:
        """Note that the call has ended."""
        ...


class Unheard:
    """Ignores the calls."""

    def begins(self, strategy: str, call: str) -> None:
        pass

    def ends(self) -> None:
        pass


class Nonsense(ValueError):
    """A strategy returned something that it may not return."""


class DroppedStrategy(msgspec.Struct, frozen=True):
    """A strategy that is no longer called: the call that failed, the error in one line, its traceback."""

    strategy: str
    call: str
    error: str
    trace: str


class BuiltIn(msgspec.Struct, frozen=True):
    """Makes a built-in strategy without parameters."""

    name: str

    def make(self) -> Strategy:
        return BUILT_IN[self.name]()


class Roster:
    """The strategies of a session, in the order in which they choose.

    Attributes:
        active: those that are called, by name.
        dropped: those that are no longer called, by name.
        curious: those that may look at candidates that are not tradable: all whose own class does not say
            that it does not.
        minding: those that are asked although nothing is tradable: all whose own class does not say that it
            only buys.
    """

    def __init__(self, load: LoadStrategy = BuiltIn, calls: Calls | None = None) -> None:
        self.active: dict[str, Strategy] = {}
        self.dropped: dict[str, DroppedStrategy] = {}
        self.curious: set[str] = set()
        self.minding: set[str] = set()
        self._timed: set[str] = set()
        self._rules = RULES
        self._load = load
        self._calls = Unheard() if calls is None else calls
        self._wanting: dict[str, Callable[[Event], bool]] = {}
        self._faults: list[DroppedStrategy] = []
        self._news: list[DroppedStrategy] = []
        self._out: list[Dropped] = []

    def start(self, texts: Sequence[str], now_ms: int, rules: int = RULES) -> None:
        """Make all strategies and start them.

        Args:
            rules: those by which the session is decided (inputs.py).

        Raises:
            StartupError: a text names no strategy.
        """
        self._rules = rules
        for text in texts:
            self._start(self._load(text), now_ms)

    def _start(self, maker: StrategyMaker, now_ms: int) -> None:
        made = self._called(maker.name, "its constructor", maker.make)
        if made is None:
            return
        self.active[maker.name] = made
        if vars(type(made)).get("only_tradable") is not True:
            self.curious.add(maker.name)
        if vars(type(made)).get("only_buys") is not True:
            self.minding.add(maker.name)
        self._called(maker.name, "on_start", partial(made.on_start, now_ms))
        if maker.name in self.dropped:
            return
        if _has_timer(made, self._rules):
            self._timed.add(maker.name)
        wants: Callable[[Event], bool] | None = getattr(made, "wants", None)
        if wants is not None:
            self._wanting[maker.name] = wants

    def update(
        self,
        update: Update,
        own: Callable[[str, Update], Update] = lambda _name, update: update,
        *,
        offers: bool = True,
    ) -> Iterator[AnyWanted]:
        """Tell each in turn that an event has changed, and yield what it wants before telling the next.

        Args:
            own: adds what a strategy itself has there.
            offers: whether something is tradable; otherwise only those in `minding` are told.
        """
        for name, strategy in tuple(self.active.items()):
            if not offers and name not in self.minding:
                continue
            told = partial(_asked, name, strategy, own(name, update), self._rules)
            yield from self._called(name, "on_update", told) or ()

    def fill(self, intent: Intent, fills: Sequence[Fill], now_ms: int) -> None:
        """Tell the strategy that placed an order about its fills or its end."""
        if (strategy := self.active.get(intent.strategy)) is not None:
            self._called(intent.strategy, "on_fill", partial(strategy.on_fill, intent, fills, now_ms))

    def timer(self, now_ms: int) -> Sequence[AnyWanted]:
        """Tell all that time has passed; return what they want."""
        wanted: list[AnyWanted] = []
        for name, strategy in tuple(self.active.items()) if self._timed else ():
            if name not in self._timed:
                continue
            timed = partial(_timed, name, strategy, now_ms, self._rules)
            wanted += self._called(name, "on_timer", timed) or ()
        return wanted

    @property
    def timed(self) -> bool:
        """Whether any of them has a timer."""
        return bool(self._timed)

    @property
    def wanting(self) -> bool:
        """Whether any of them chooses its events."""
        return bool(self._wanting)

    def wants(self, event: Event) -> bool:
        """Return whether any of them asks for this event.

        This happens outside the log: a strategy that fails is not asked again, and is dropped by an input.
        """
        wanted = False
        for name, wants in tuple(self._wanting.items()):
            self._calls.begins(name, "wants")
            try:
                wanted = bool(wants(event)) or wanted
            except BaseException as error:  # noqa: BLE001, it is noted
                _pass_on(error)
                del self._wanting[name]
                fault = _dropped(name, "wants", error)
                self._faults.append(fault)
                self._news.append(fault)
            finally:
                self._calls.ends()
        return wanted

    def take_faults(self) -> list[DroppedStrategy]:
        """Return the strategies that failed outside the log since the last call: each needs an input."""
        faults, self._faults = self._faults, []
        return faults

    def drop(self, dropped: DroppedStrategy) -> None:
        """Stop calling a strategy."""
        self.active.pop(dropped.strategy, None)
        self._wanting.pop(dropped.strategy, None)
        self.curious.discard(dropped.strategy)
        self.minding.discard(dropped.strategy)
        self._timed.discard(dropped.strategy)
        if dropped.strategy not in self.dropped:
            self.dropped[dropped.strategy] = msgspec.structs.replace(dropped, trace="")
            if dropped.trace:  # otherwise it was news when it failed
                self._news.append(dropped)
            self._out.append(Dropped(dropped.strategy, dropped.call, dropped.error.partition(":")[0]))

    def take_outputs(self) -> list[Dropped]:
        """Return the strategies dropped since the last call, without anything that may differ in a replay."""
        out, self._out = self._out, []
        return out

    def take_news(self) -> list[DroppedStrategy]:
        """Return the strategies dropped since the last call, for the log."""
        news, self._news = self._news, []
        return news

    def _called(self, name: str, call: str, do: Callable[[], T]) -> T | None:
        self._calls.begins(name, call)
        try:
            return do()
        except BaseException as error:  # noqa: BLE001, it is noted: sys.exit() is a strategy's mistake, too
            _pass_on(error)
            self.drop(_dropped(name, call, error))
            return None
        finally:
            self._calls.ends()


def _has_timer(strategy: Strategy, rules: int) -> bool:
    """Whether a strategy that has been started has a timer of its own, by its class or set on itself."""
    if rules < 3:
        return getattr(type(strategy), "on_timer", None) is not Quiet.on_timer
    return getattr(getattr(strategy, "on_timer", None), "__func__", None) is not Quiet.on_timer


def _asked(name: str, strategy: Strategy, update: Update, rules: int) -> Sequence[AnyWanted]:
    proposals = strategy.on_update(update)
    check_proposals(proposals, name, update.view.event.event_ticker, rules)
    return proposals


def _timed(name: str, strategy: Strategy, now_ms: int, rules: int) -> Sequence[AnyWanted]:
    proposals = strategy.on_timer(now_ms)
    if proposals is None:
        return ()
    check_proposals(proposals, name, None, rules)
    return proposals


def check_proposals(proposals: object, strategy: str, event_ticker: str | None, rules: int = RULES) -> None:
    """Check that what a strategy returned is well-formed; risk refuses what is unwise.

    Types must match exactly: subclasses of int or str might not be encoded like them.

    Args:
        event_ticker: the event that the strategy was told of; None: it may want something of any.
        rules: those by which the session is decided (inputs.py).

    Raises:
        Nonsense: it is not what a strategy may return.
    """
    if type(proposals) not in (list, tuple):
        raise Nonsense(f"got {type(proposals).__name__}, expected a list of proposals")
    assert isinstance(proposals, list | tuple)
    if len(proposals) > MAX_PROPOSALS:
        raise Nonsense(f"got {len(proposals)} proposals, expected at most {MAX_PROPOSALS}")
    for proposal in proposals:
        if type(proposal) not in (Proposal, CancelWanted, AmendWanted):
            raise Nonsense(f"got {type(proposal).__name__}, expected a Proposal, CancelWanted or AmendWanted")
        if proposal.strategy != strategy:
            raise _unlike("strategy", "its own name")
        told_of = proposal.event_ticker == event_ticker
        if event_ticker is None:
            told_of = type(proposal.event_ticker) is str
        if not told_of:
            raise _unlike("event_ticker", "the event that the update is about")
        if type(proposal) is Proposal:
            _check_proposal(proposal)
        else:
            for member in proposal.__struct_fields__[2:]:
                if not _is_number(getattr(proposal, member)):
                    raise _unlike(member, "an int")
        if rules >= 4:
            _check_texts(proposal)


def _check_proposal(proposal: Proposal) -> None:
    if type(proposal.legs) is not tuple:
        raise _unlike("legs", "a tuple")
    for leg in proposal.legs:
        _check_leg(leg)
    if not _is_number(proposal.edge_e6):
        raise _unlike("edge_e6", "an int")
    known = proposal.probability
    if known is not None and not (type(known) in (int, float) and 0 <= known <= 1):
        raise _unlike("probability", "0 to 1 or None")
    if type(proposal.exits) is not bool:
        raise _unlike("exits", "True or False")
    sells = proposal.exits and proposal.evens is not None and _is_number(proposal.evens)
    if not sells and proposal.evens is not None:
        raise _unlike("evens", "None, or a trade if exits is True")
    if not sells and proposal.exits:
        raise _unlike("exits", "False if evens names no trade")
    joins = proposal.joins
    if joins is not None and (sells or not _is_number(joins)):
        raise _unlike("joins", "a trade or None, without evens")
    if proposal.by_hand is not False:
        raise _unlike("by_hand", "False: it is not a person's")
    if proposal.time_in_force not in ("ioc", "fok", "gtc"):
        raise _unlike("time_in_force", "ioc, fok or gtc")
    rests_only = type(proposal.post_only) is bool
    if not rests_only or (proposal.post_only and proposal.time_in_force != "gtc"):
        raise _unlike("post_only", "True or False, and True only with gtc")
    if proposal.expires_ms is not None and not _is_number(proposal.expires_ms):
        raise _unlike("expires_ms", "an int or None")
    if type(proposal.kind) is not str or len(proposal.kind) > MAX_KIND:
        raise _unlike("kind", "a short text")


def _check_leg(leg: Wanted) -> None:
    if type(leg) is not Wanted:
        raise _unlike("leg", "a Wanted")
    if type(leg.ticker) is not str:
        raise _unlike("ticker", "text")
    if type(leg.side) is not str or leg.side not in ("yes", "no"):
        raise _unlike("side", "yes or no")
    if not _is_number(leg.price_e4):
        raise _unlike("price_e4", "an int")
    if not _is_number(leg.count_e2):
        raise _unlike("count_e2", "an int")


def _unlike(member: str, expected: str) -> Nonsense:
    return Nonsense(f"{member} of a proposal: expected {expected}")


def _check_texts(wanted: AnyWanted) -> None:
    """Check that the journal and every message can carry the texts of what is wanted."""
    texts = [("strategy", wanted.strategy), ("event_ticker", wanted.event_ticker)]
    if type(wanted) is Proposal:
        texts += [("kind", wanted.kind), ("time_in_force", wanted.time_in_force)]
        texts += [("ticker", leg.ticker) for leg in wanted.legs]
    for member, text in texts:
        if type(text) is not str or len(text) > MAX_TEXT or utf8(text) != text:
            raise _unlike(member, f"text in UTF-8 of at most {MAX_TEXT} characters")


def _is_number(value: object) -> bool:
    return type(value) is int and -MAX_NUMBER <= value <= MAX_NUMBER


def _pass_on(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        raise error  # a person ends the process


def _dropped(strategy: str, call: str, error: BaseException) -> DroppedStrategy:
    return DroppedStrategy(strategy, call, lines_of(error)[-1].strip()[:200], trace_of(error))
