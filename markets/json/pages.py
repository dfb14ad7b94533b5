"""Replies of Kalshi's REST API, split into their members without decoding them.

A caller compares the bytes of a member with those it holds and decodes only what changed. The members are
views into the reply's body.
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from markets.errors import BadRecord

from .decoding import JSON_FAULTS, checked_ticker, decode, elements_of, legible
from .words import COST

_T = TypeVar("_T")

REFILL_LEAST: Final = 0.001
"""Tokens per second: with fewer nothing is ever sent, and a wait has no end that a number can hold."""


class EventsPage(NamedTuple):
    """One page of the list of events, its members not decoded; `cursor` as in `split_list`."""

    events: list[Raw]
    cursor: str | None
    milestones: list[Raw]


class Tier(NamedTuple):
    """An account's limits for reads or writes: tokens per second, and the most that can be saved up."""

    refill_per_s: float
    capacity: float


class _BucketWire(msgspec.Struct):
    refill_rate: float
    bucket_capacity: float


class _LimitsWire(msgspec.Struct):
    read: _BucketWire
    write: Raw = Raw(b"null")


class _EventsWire(msgspec.Struct):
    events: list[Raw] | None
    cursor: Raw = Raw(b"null")
    milestones: Raw = Raw(b"null")


_events_page: Final = msgspec.json.Decoder(_EventsWire)
_cursor: Final = msgspec.json.Decoder(str | None)
_limits: Final = msgspec.json.Decoder(_LimitsWire)
_bucket: Final = msgspec.json.Decoder(_BucketWire)


def split_list(body: bytes, key: str) -> tuple[list[Raw], str | None]:
    """Split a paged reply into the raw members of its list `key` and the cursor of the next page.

    The cursor is "" at the end of the list, and when it is null or absent; it is None if it cannot be read. A
    null list is empty. The members are views into `body`; they are not decoded, so that a caller can skip the
    unchanged ones by comparing bytes.

    Raises:
        BadRecord: `body` is not a JSON object with a list `key`.
    """
    page = _decoded(_page_decoder(key), body)
    return page.members or [], _cursor_of(page.cursor)


def split_events(body: bytes) -> EventsPage:
    """Split a page of events, and of the milestones that came with them, into its members.

    Raises:
        BadRecord: `body` is not such a page.
    """
    page = _decoded(_events_page, body)
    return EventsPage(page.events or [], _cursor_of(page.cursor), elements_of(page.milestones))


def decode_tier(body: bytes) -> Tier:
    """Decode what ``GET /account/limits`` says about reads.

    Raises:
        BadRecord: it does not state read limits with which something can be sent.
    """
    return _tier("read", decode(_limits, body, "body").read)


def decode_write_tier(body: bytes) -> Tier:
    """Decode what ``GET /account/limits`` says about writes.

    Raises:
        BadRecord: it does not state write limits with which something can be sent.
    """
    return _tier("write", decode(_bucket, decode(_limits, body, "body").write, "write"))


def _tier(name: str, bucket: _BucketWire) -> Tier:
    if not (REFILL_LEAST <= bucket.refill_rate < 1e9 and COST <= bucket.bucket_capacity < 1e9):
        raise BadRecord(name, bucket, f"a rate from {REFILL_LEAST}, and a capacity of at least one request")
    return Tier(bucket.refill_rate, bucket.bucket_capacity)


def member(body: bytes, key: str) -> Raw:
    """Return the raw member `key` of a reply such as ``{"event": {...}}``.

    Raises:
        BadRecord: `body` is not a JSON object with a member `key`.
    """
    value: Raw = decode(_member_decoder(key), body, "body").value
    return value


def text_member(raw: bytes | Raw, key: str) -> str:
    """Return the string member `key` of one JSON object, at little more than the cost of finding it.

    Raises:
        BadRecord: there is no such object, or its `key` is not a string.
    """
    text: str = decode(_text_decoder(key), raw, key).value
    return text


def market_ticker(raw: bytes | Raw) -> str:
    """Return the ticker of a raw market, without decoding the rest.

    Raises:
        BadRecord: it has no usable ticker.
    """
    return checked_ticker(text_member(raw, "ticker"), "ticker")


def ticker_or_none(raw: Raw) -> str | None:
    """Return the ticker of a raw market, None if it has no usable one."""
    try:
        return market_ticker(raw)
    except BadRecord:
        return None


def _decoded(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except JSON_FAULTS:
        return decode(decoder, legible(body), "body")


def _cursor_of(raw: Raw) -> str | None:
    try:
        return _cursor.decode(raw) or ""
    except JSON_FAULTS:
        return None


@lru_cache(maxsize=64)
def _page_decoder(key: str) -> msgspec.json.Decoder[Any]:
    fields: list[Any] = [
        ("members", list[Raw] | None, msgspec.field(name=key)),
        ("cursor", Raw, Raw(b"null")),
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Page", fields))


@lru_cache(maxsize=64)
def _member_decoder(key: str) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(msgspec.defstruct("Member", [("value", Raw, msgspec.field(name=key))]))


@lru_cache(maxsize=64)
def _text_decoder(key: str) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(msgspec.defstruct("Text", [("value", str, msgspec.field(name=key))]))
