"""Replies split into their members."""

import json

import pytest

from markets.errors import BadRecord
from markets.json.pages import market_ticker, split_list
from tests.markets.json.recorded import (
    OTHER,
    encode,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>502 Bad Gateway</body></html>",
        b"[]",
        b"null",
        b"{}",
        b'{"markets":{},"cursor":""}',
        b'{"markets":[{"ticker":"A"}',
        b'{"markets":[]}trailing',
        b'{"markets":' + b"[" * 100_000,
    ],
    ids=lambda body: body[:30],
)
def test_a_reply_that_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(BadRecord):
        split_list(body, "markets")


def test_a_page_is_split_without_decoding_its_members() -> None:
    page = encode(OTHER["page"])
    members, cursor = split_list(page, "markets")
    assert [market_ticker(raw) for raw in members] == [m["ticker"] for m in OTHER["page"]["markets"]]
    assert [json.loads(bytes(raw)) for raw in members] == OTHER["page"]["markets"]
    assert cursor == OTHER["page"]["cursor"]


@pytest.mark.parametrize("tail", [b"", b',"cursor":null', b',"cursor":""'])
def test_end_of_list_is_an_empty_cursor(tail: bytes) -> None:
    assert split_list(b'{"markets":[]' + tail + b"}", "markets") == ([], "")


def test_one_bad_member_does_not_spoil_the_page() -> None:
    members, _ = split_list(b'{"markets":[{"ticker":7},5,{"ticker":"\xff"},{"ticker":"OK"}]}', "markets")
    for raw in members[:3]:
        with pytest.raises(BadRecord):
            market_ticker(raw)
    assert market_ticker(members[3]) == "OK"
