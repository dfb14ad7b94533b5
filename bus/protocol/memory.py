"""How a replica keeps the records of the static lane: in less memory than they came in.

JSON is two thirds of what a market costs, and its rules are nearly the same text as its neighbours'. A
process that must pass it on keeps it packed; one that only makes decisions keeps the part that the domain
reads. Both keep what the markets of one event have in common only once.

Digests are unaffected: a record kept in another form than it came in is hashed from its bytes on arrival.
"""

import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import zstandard

from bus.threads import Owner
from markets.json.read import slim_event_raw, slim_market_raw
from markets.records import Market, Quote
from markets.units import PRICE_ONE_E4

from .messages import encode_record

_OF_EVENT: Final = (
    "event_ticker",
    "created_ms",
    "open_ms",
    "close_ms",
    "expected_expiration_ms",
    "latest_expiration_ms",
    "occurrence_ms",
    "settlement_timer_s",
    "yes_sub_title",
)
"""Fields whose values are often shared by the markets of an event or a series."""

_OF_MANY: Final = ("series_ticker", "market_type", "strike_type", "result")
"""Fields with few distinct values."""

SAMPLE_BYTES: Final = 100_000
"""Size of the sample, JSON from as many series as fit, that all others are compressed against."""

MAX_WAITING: Final = 5_000
"""The most markets that wait, uncompressed, for the sample to fill."""

_LEVEL: Final = 3
_PRICES: Final = tuple(range(PRICE_ONE_E4 + 1))
_PRICES_OF_QUOTE: Final = tuple(name for name in Quote.__struct_fields__ if name.endswith("_e4"))

_market: Final = msgspec.msgpack.Decoder(Market)
_set = msgspec.structs.force_setattr


class Keeping:
    """How records of `kinds` are kept. One thread keeps records; any thread reads them.

    This class keeps them whole, but stores what they have in common only once.
    """

    kinds: frozenset[str] = frozenset(("market",))

    def __init__(self) -> None:
        self._owner = Owner("how a replica keeps its records")
        self._ranges: dict[tuple[tuple[int, int, int], ...], tuple[tuple[int, int, int], ...]] = {}

    def keep(self, kind: str, records: Sequence[Any], _raws: Sequence[msgspec.Raw | bytes]) -> None:
        """Turn freshly decoded records, which nobody else holds yet, into the form they are kept in."""
        self._owner.check()
        if kind == "market":
            seen: dict[Any, Any] = {}
            for market in records:
                self._share(market, seen)

    def raw(self, market: Market) -> bytes:
        """Return a market's JSON as it came."""
        return market.raw

    def encoded(self, _kind: str, record: Any) -> bytes:
        """Return a record's bytes as they came."""
        return encode_record(record)

    def as_kept(self, market: Market) -> bytes:
        """Return a market's bytes as they are kept, for an `Unpacker` in another process."""
        return encode_record(market)

    @property
    def dictionary(self) -> bytes | None:
        """What an `Unpacker` needs, from when on anything is packed."""
        return None

    def share_quotes(self, quotes: Sequence[Quote], markets: Mapping[str, Market]) -> None:
        """Let quotes that came together share tickers and age, before they become keys."""
        seen: dict[int, int] = {}
        for quote in quotes:
            market = markets.get(quote.ticker)
            if market is not None:
                _set(quote, "ticker", market.ticker)
            _set(quote, "as_of_ms", seen.setdefault(quote.as_of_ms, quote.as_of_ms))

    def share_prices(self, quotes: Iterable[Quote], markets: Mapping[str, Market]) -> None:
        """Let quotes that have stayed a while share ticker and prices.

        Equal values replace each other, so readers need not care.
        """
        for quote in quotes:
            market = markets.get(quote.ticker)
            if market is not None:
                _set(quote, "ticker", market.ticker)
            for name in _PRICES_OF_QUOTE:
                price_e4 = getattr(quote, name)
                if price_e4 is not None and 0 <= price_e4 <= PRICE_ONE_E4:
                    _set(quote, name, _PRICES[price_e4])

    def _share(self, market: Market, seen: dict[Any, Any]) -> None:
        """Let a market share values with those in `seen`, and with all others."""
        for name in _OF_EVENT:
            value = getattr(market, name)
            if value is not None:
                _set(market, name, seen.setdefault(value, value))
        for name in _OF_MANY:
            value = getattr(market, name)
            if value is not None:
                _set(market, name, sys.intern(value))
        ranges = market.price_ranges
        _set(market, "price_ranges", self._ranges.setdefault(ranges, ranges))


class Packed(Keeping):
    """Keeps everything, to be passed on: a market's bytes, compressed against those of the first markets.

    What only the JSON needs to hold, title and `yes_sub_title`, is "" in the record.
    """

    def __init__(self, sample_bytes: int = SAMPLE_BYTES) -> None:
        super().__init__()
        self._sample_bytes = sample_bytes
        self._samples: dict[str | None, bytes] = {}
        self._waiting: list[tuple[Market, bytes]] = []
        self._dictionary: zstandard.ZstdCompressionDict | None = None
        self._compressor = zstandard.ZstdCompressor()
        self._local = threading.local()

    def keep(self, kind: str, records: Sequence[Any], raws: Sequence[msgspec.Raw | bytes]) -> None:
        super().keep(kind, records, raws)
        if self._dictionary is None:
            self._sample(records, raws)
            return
        self._pack(records, raws)

    def raw(self, market: Market) -> bytes:
        packed = market.raw
        if packed[:1] == b"{":  # it has to wait
            return packed
        return _market.decode(self._unpack(packed)).raw

    def encoded(self, kind: str, record: Any) -> bytes:
        if kind == "market" and record.raw[:1] != b"{":
            return self._unpack(record.raw)
        whole = encode_record(record)
        # One that waited may have been packed meanwhile; its `raw` is the first to show that.
        return whole if kind != "market" or record.raw[:1] == b"{" else self._unpack(record.raw)

    def as_kept(self, market: Market) -> bytes:
        kept = market.raw
        return kept if kept[:1] != b"{" else self.encoded("market", market)

    @property
    def dictionary(self) -> bytes | None:
        return None if self._dictionary is None else self._dictionary.as_bytes()

    def _unpack(self, packed: bytes) -> bytes:
        try:
            decompress = self._local.decompress
        except AttributeError:  # a decompressor belongs to one thread
            decompressor = zstandard.ZstdDecompressor(dict_data=self._dictionary)
            decompress = self._local.decompress = decompressor.decompress
        whole: bytes = decompress(packed)
        return whole

    def _pack(self, markets: Iterable[Market], raws: Sequence[msgspec.Raw | bytes]) -> None:
        for market, packed in zip(markets, compressed(self._compressor, raws), strict=True):
            # In this order: a reader in between finds the texts either in the record or in its bytes.
            _set(market, "raw", packed)
            _set(market, "title", "")
            _set(market, "yes_sub_title", "")

    def _sample(self, markets: Sequence[Market], raws: Sequence[msgspec.Raw | bytes]) -> None:
        """Collect samples until there are enough, and then pack what waited for them."""
        samples = self._samples
        for market, raw in zip(markets, raws, strict=True):
            whole = bytes(raw)
            self._waiting.append((market, whole))
            samples.setdefault(market.series_ticker, whole)
        if sum(map(len, samples.values())) < self._sample_bytes and len(self._waiting) < MAX_WAITING:
            return
        text = b"".join(samples.values())[-2 * self._sample_bytes :]
        dictionary = zstandard.ZstdCompressionDict(text, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        dictionary.precompute_compress(_LEVEL)
        self._dictionary = dictionary
        self._compressor = zstandard.ZstdCompressor(
            level=_LEVEL, dict_data=dictionary, write_checksum=False, write_dict_id=False
        )
        self._pack([market for market, _ in self._waiting], [whole for _, whole in self._waiting])
        self._samples, self._waiting = {}, []


class Slim(Keeping):
    """Keeps only the part of the JSON that the domain reads: enough to decide, too little to pass on.

    A market's title, which adds nothing to its event's title and its `yes_sub_title`, is "", and so is the
    order of an event's markets.
    """

    kinds = frozenset(("market", "event", "series", "milestone"))

    def __init__(self) -> None:
        super().__init__()
        self._raws: dict[bytes, bytes] = {}

    def keep(self, kind: str, records: Sequence[Any], raws: Sequence[msgspec.Raw | bytes]) -> None:
        super().keep(kind, records, raws)
        slim = _SLIM.get(kind)
        for record in records:
            raw = b"{}" if slim is None else slim(record)
            _set(record, "raw", self._raws.setdefault(raw, raw))
            if kind == "market":
                _set(record, "title", "")
            elif kind == "event":
                _set(record, "market_tickers", "")

    def encoded(self, kind: str, record: Any) -> bytes:
        raise NotImplementedError(f"{kind}: a slim replica has not got what it would pass on")


class Unpacker:
    """Reads markets as another process keeps them. One thread.

    Args:
        dictionary: that process's (`Keeping.dictionary`); None as long as it packs nothing.
    """

    def __init__(self, dictionary: bytes | None = None) -> None:
        found = None
        if dictionary is not None:
            found = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        self._decompress = zstandard.ZstdDecompressor(dict_data=found).decompress

    def market(self, kept: bytes) -> Market:
        """Return the whole market, given its bytes as they are kept."""
        return _market.decode(self._decompress(kept) if kept.startswith(zstandard.FRAME_HEADER) else kept)


_SLIM: Final[Mapping[str, Any]] = {"market": slim_market_raw, "event": slim_event_raw}


def compressed(compressor: zstandard.ZstdCompressor, bodies: Sequence[msgspec.Raw | bytes]) -> list[bytes]:
    """Return bodies, none of them empty, each compressed, in no more memory than needed, to be kept.

    All in one call: each call gives up the interpreter, and a computing thread returns it only after the
    switch interval, 5 ms by default.
    """
    if not bodies:
        return []
    frames = compressor.multi_compress_to_buffer(list(bodies))
    return [frames[index].tobytes() for index in range(len(frames))]
