"""Lists that no sweep reads: in turn, a page a step, whole or not at all."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import zstandard

from bus.clock import ManualClock
from bus.protocol.answers import Answers
from bus.protocol.messages import decode_map, encode_map
from publisher.kalshi.budget import BASIC, Budget
from publisher.kalshi.client import Client
from publisher.slow import SlowLists, SlowReader, slow_routes
from tests.publisher.exchange import HTML, Answer, FakeExchange, event, market, on, reply, series
from tests.publisher.kalshi.answering import NO_KEY, Waiting

SCHEDULE: dict[str, Any] = {"schedule": {"standard_hours": [], "maintenance_windows": []}}
ALL = len(slow_routes(0))


class Reader:
    """A reader of a small exchange, and who asks for what it read."""

    def __init__(self, exchange: FakeExchange) -> None:
        self.exchange = exchange
        self.clock = ManualClock()
        self.lists = SlowLists()
        budget = Budget(BASIC, Random(1), self.clock.monotonic_ns() / 1e9)
        self.client = Client(exchange.url, NO_KEY, budget, self.clock, Random(1), Waiting(self.clock))
        self.reader = SlowReader(self.lists, self.client, self.clock)
        self.answers = Answers(lambda: None)
        self.lists.add_to(self.answers)

    def ask(self, op: str, **question: Any) -> dict[str, Any]:
        (frame,) = self.answers.answer(encode_map({"op": op, **question}), 0)
        return decode_map(frame, dict[str, Any])

    def read(self, name: str) -> Any:
        answer = self.ask("list", name=name)
        return json.loads(zstandard.decompress(answer["body"])) if answer["ok"] else None

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.reader.step(0)


@pytest.fixture
def reader() -> Iterator[Reader]:
    with FakeExchange() as exchange:
        exchange.faults.append(on("/exchange/schedule", reply(SCHEDULE)))
        exchange.series = {name: series(name) for name in ("S1", "S2")}
        made = Reader(exchange)
        yield made
        made.client.close()


def pages_of(exchange: FakeExchange, *pages: dict[str, Any]) -> None:
    """Answer requests for events with these, one after the other, from the first again at the end."""
    waiting = list(pages)

    def fault(path: str) -> Answer | None:
        if path != "/events":
            return None
        if not waiting:
            waiting.extend(pages)
        return reply(waiting.pop(0))

    exchange.faults.append(fault)


def test_a_page_is_read_a_step_and_a_list_is_told_once_it_is_whole(reader: Reader) -> None:
    listed = [event(f"E{n}", "S1", market(f"E{n}-A", f"E{n}", status="initialized")) for n in range(2)]
    pages_of(reader.exchange, {"events": listed[:1], "cursor": "more"}, {"events": listed[1:], "cursor": ""})
    reader.steps(1)
    assert reader.read("schedule") == SCHEDULE
    reader.steps(1)
    assert reader.read("unopened") is None
    reader.steps(1)
    assert reader.read("unopened") == listed
    assert reader.exchange.paths == [
        "/exchange/schedule",
        "/events?status=unopened&with_nested_markets=true&limit=200",
        "/events?status=unopened&with_nested_markets=true&limit=200&cursor=more",
    ]
    assert list(reader.ask("lists")["lists"]) == ["schedule", "unopened"]
    assert reader.ask("list", name="unopened")["as_of_ms"] <= reader.clock.now_ms()


def test_each_is_read_again_when_its_time_has_come_and_no_sooner(reader: Reader) -> None:
    reader.steps(ALL + 5)
    asked = len(reader.exchange.paths)
    assert asked == ALL
    reader.clock.advance(61_000)
    reader.steps(5)
    assert [path.partition("&")[0] for path in reader.exchange.paths[asked:]] == ["/events?status=unopened"]


@pytest.mark.parametrize("bad", [HTML, Answer(500, b"{}"), Answer(200, b'{"events":[{}],"cursor":5}')])
def test_a_list_that_fails_keeps_what_was_read_and_holds_up_no_other(reader: Reader, bad: Answer) -> None:
    reader.steps(ALL)
    before = reader.read("unopened")
    assert before == []
    reader.exchange.faults.insert(0, on("/events", bad))
    reader.clock.advance(3_700_000)
    reader.exchange.series["S3"] = series("S3")
    reader.steps(ALL)
    assert reader.read("unopened") == before
    assert [one["ticker"] for one in reader.read("series")] == ["S1", "S2", "S3"]
    assert reader.client.reachable


def test_a_cursor_that_leads_nowhere_and_a_list_without_end_are_left_out(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages_of(reader.exchange, {"events": [event("E", "S")], "cursor": "round"})
    reader.steps(3)
    assert reader.read("unopened") is None
    monkeypatch.setattr("publisher.slow.MAX_BYTES", 10)
    reader.steps(ALL)
    assert reader.read("series") is None


@pytest.mark.parametrize("name", ["nope", 5, None])
def test_an_unknown_list_is_refused(reader: Reader, name: Any) -> None:
    assert reader.ask("list", name=name)["error"]["code"] == "not_found"
