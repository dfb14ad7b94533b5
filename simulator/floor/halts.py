"""Whether the exchange and its shards are up and trading, and how busy the crowd is."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Shard:
    """Whether a shard of the exchange is up."""

    exchange_active: bool = True
    trading_active: bool = True


@dataclass(slots=True)
class Halts:
    """Whether the exchange and its shards are up and trading. What is switched here is noted with `note`.

    Attributes:
        trading: the shards on which there is trading.
    """

    exchange_active: bool = True
    trading_active: bool = True
    shards: dict[int, Shard] = field(default_factory=lambda: {index: Shard() for index in range(4)})
    trading: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.note()

    def note(self) -> None:
        """Note on which shards there is trading now."""
        active = self.exchange_active and self.trading_active
        self.trading = {
            index
            for index, shard in self.shards.items()
            if active and shard.exchange_active and shard.trading_active
        }


@dataclass(slots=True)
class Activity:
    """How busy, and how unkind, the exchange is.

    Attributes:
        pace: scales all rates of the crowd; 0 freezes prices (the life cycle continues).
        trade_share: share of the moves that are trades.
        mispricings, bursts: whether they happen.
        rivals: whether others take what is mispriced.
        informed_share: share of the quotes passed by the truth that somebody hits before they move.
        void_rate: share of matches not played: each market is settled somewhere between the bid and the ask
            that it had when quoters pulled.
        postponed_rate: share of matches that, at the moment when they should start, are postponed.
        dead_heat_rate: share of exclusive events with options that have two winners: each is worth a half.
        scalar_rate: share of events on a number whose number is never known: each market is settled at its
            probability, in whole cents.
    """

    pace: float = 1.0
    trade_share: float = 0.35
    mispricings: bool = True
    bursts: bool = True
    rivals: bool = True
    informed_share: float = 0.3
    void_rate: float = 0.01
    postponed_rate: float = 0.01
    dead_heat_rate: float = 0.01
    scalar_rate: float = 0.005
