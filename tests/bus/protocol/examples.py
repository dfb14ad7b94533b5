"""One message of every kind, and one record of every topic."""

from typing import Any

import msgspec

from bus.protocol.messages import (
    RECORD_TYPES,
    VERSION,
    CycleEnd,
    Envelope,
    Heartbeat,
    PublisherHealth,
    encode,
    encode_map,
    encode_record,
)
from markets.records import Record

EPOCH = 1_790_000_000_000

CYCLE = CycleEnd(
    3, 17, 19, 3, False, EPOCH + 1, EPOCH + 2, EPOCH, ("KXNBAGAME-26NOV22BOSLAL-BOS",), EPOCH - 9, 7, 1, 2
)

HEARTBEAT = Heartbeat(
    since=4,
    seq=19,
    streams={"md.KXNBAGAME.": (18, 2**64 - 1, 1, 0, 0), "ref.": (17, 0, 0, 0, 2**63)},
    now_ms=EPOCH + 5,
    cycle=CYCLE,
    publisher=PublisherHealth(EPOCH, 12_000, "partial", "ok", True, "GET /markets: 503"),
    source="replay",
    fields={"quote": 17},
)

_TOPICS = {
    "series": "ref.",
    "event": "ref.",
    "milestone": "ref.",
    "drift": "ref.",
    "exchange": "ex.",
    "trader": "trader.",
}


def a_record(type_: type[Record]) -> Record:
    """A record of any type, made from its annotations alone, so that a new kind needs no line here."""
    return msgspec.convert(
        [_sample(field.type, field.name) for field in msgspec.structs.fields(type_)], type_
    )


def _sample(annotation: Any, name: str) -> Any:
    text = str(annotation)
    if "Status" in text:
        return "active"
    if "bytes" in text:
        return b'{"ticker":"KXNBAGAME-26NOV22BOSLAL-BOS"}'
    if "dict[str" in text:
        return {"yes_bid_dollars": "0.45"} if "str | None" in text else {}
    if "tuple[tuple" in text or "Level" in text:
        shape = {"price_ranges": (0, 10_000, 100), "shards": (0, True, False)}
        return (shape.get(name, (4_500, 12_345)),)
    if text.startswith("tuple"):
        return ("KXNBAGAME-26NOV22BOSLAL",) if "str" in text else (1,)
    if "bool" in text:
        return True
    if "float" in text:
        return 45.5 if "strike" in name else 0.25
    if "int" in text:
        return EPOCH if name.endswith("_ms") else 4_500
    return {"side": "yes"}.get(name, f"KX {name} é")


def the_messages() -> dict[str, bytes]:
    """One frame of every kind."""
    frames = {}
    for number, (kind, type_) in enumerate(RECORD_TYPES.items(), 1):
        raws = [msgspec.Raw(encode_record(a_record(type_)))] * 2
        envelope = Envelope(
            VERSION, EPOCH, number + 1, number, kind, 0, EPOCH * 10**6, EPOCH * 10**6 - 5, raws
        )
        frames[kind] = encode(_TOPICS.get(kind, "md.KXNBAGAME."), envelope)
    for kind, topic, value in (("cycle", "cycle.", CYCLE), ("heartbeat", "hb.", HEARTBEAT)):
        raws = [msgspec.Raw(encode_map(value))]
        envelope = Envelope(VERSION, EPOCH, 20, 0, kind, 3, EPOCH * 10**6, EPOCH * 10**6, raws)
        frames[kind] = encode(topic, envelope)
    return frames
