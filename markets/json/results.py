"""A market's result, announced before any list shows it, written into the market's object as Kalshi would."""

from collections.abc import Mapping
from sys import intern
from typing import Final

import msgspec
from msgspec import Raw

from markets.records import Market
from markets.units import format_price

_members: Final = msgspec.json.Decoder(dict[str, Raw])
_encode: Final = msgspec.json.Encoder().encode


def decided(market: Market, result: str, settlement_value_e4: int | None) -> Market:
    """Return a market with this result and with what YES pays; None where that is unknown.

    The object as sent gets the same two members; all others stay as they were.
    """
    value = None if settlement_value_e4 is None else format_price(settlement_value_e4)
    said = {"result": result, "settlement_value_dollars": value}
    return msgspec.structs.replace(
        market,
        result=intern(result),
        settlement_value_e4=settlement_value_e4,
        raw=_with(market.raw, said),
    )


def _with(raw: bytes, said: Mapping[str, str | None]) -> bytes:
    members: dict[str, Raw] = _members.decode(raw)
    for name, text in said.items():
        if text is None:
            members.pop(name, None)
        else:
            members[name] = Raw(_encode(text))
    return _encode(members)
