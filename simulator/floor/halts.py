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


@dataclass(slots=True)
class Activity:
    """How busy the exchange is. `pace` scales all rates; 0 freezes prices (the life cycle goes on)."""

    pace: float = 1.0
    trade_share: float = 0.35
    mispricings: bool = True
    bursts: bool = True
