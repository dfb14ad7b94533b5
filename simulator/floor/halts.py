"""Whether the exchange and its shards work, and trade; and how busy the crowd is."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Shard:
    """Whether a shard of the exchange works."""

    exchange_active: bool = True
    trading_active: bool = True


@dataclass(slots=True)
class Halts:
    """Whether the exchange and its shards work, and trade."""

    exchange_active: bool = True
    trading_active: bool = True
    shards: dict[int, Shard] = field(default_factory=lambda: {index: Shard() for index in range(4)})

    def trades(self, index: int) -> bool:
        """Tell whether there is trading on a shard."""
        shard = self.shards[index]
        everywhere = self.exchange_active and self.trading_active
        return everywhere and shard.exchange_active and shard.trading_active


@dataclass(slots=True)
class Activity:
    """How busy the exchange is, and how unkind.

    Attributes:
        pace: scales all rates of the crowd; 0 freezes prices (the life cycle goes on).
        trade_share: share of the moves that are trades.
        mispricings, bursts: whether they happen.
        rivals: whether others take what is mispriced.
        informed_share: of the quotes that the truth has passed by, those that somebody hits first.
        void_rate: of the matches, those that are not played: each market is settled somewhere between the
            bid and the ask that it had when quoters pulled.
        postponed_rate: of the matches, those that start later, at the moment when they should start.
        dead_heat_rate: of the exclusive events with options, those with two winners: each is worth a half.
        scalar_rate: of the events on a number, those whose number cannot be had: each market is settled at
            its probability, in whole cents.
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
