"""The time machine answers as the snapshot server did: the same bytes, at the same position."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from bus.ask import ask
from bus.protocol.messages import decode, decode_map, encode_map, unpack_map
from bus.protocol.state import State
from bus.tape.file import segments_of
from bus.tape.moments import Position
from snapshot_server.edition import next_edition
from snapshot_server.http import HttpRequest, HttpResponse, respond
from snapshot_server.past.http import respond_past
from snapshot_server.past.machine import Machine
from snapshot_server.past.run import PastAnswers
from snapshot_server.view import View
from tests.bus.tape.recorded import Live, last_seq, live
from tests.bus.tape.remembered import Remembered
from tests.bus.world import START_MS
from tests.e2e.conftest import get
from tests.support import Runner, eventually

__all__ = ["live"]  # a fixture

HOST = {"host": "127.0.0.1"}
PATHS = (
    "/markets",
    "/markets?tickers=A-1-X,C-1-X",
    "/markets?event_ticker=A-1",
    "/markets?series_ticker=A&limit=1",
    "/markets?status=active&fields=yes_bid_dollars,as_of",
    "/trade-api/v2/markets?limit=2",
    "/trade-api/v2/markets/A-1-X",
    "/trade-api/v2/markets/A-1-X/orderbook",
    "/trade-api/v2/events/A-1?with_nested_markets=true",
    "/trade-api/v2/series/A",
)


def request_of(path: str) -> HttpRequest:
    place, _, query = path.partition("?")
    return HttpRequest("GET", place, query, HOST)


def view_of(state: State, now_ms: int, machine: Machine) -> View:
    edition = next_edition(state.frozen(), state.digest(), None, now_ms, lambda: None)
    return msgspec.structs.replace(machine.view(None), edition=edition)


def said(response: HttpResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    return response.status, response.content(), response.headers


def with_at(path: str, at: object) -> str:
    return f"{path}{'&' if '?' in path else '?'}at={at}"


def error_of(machine: Machine, path: str) -> tuple[int, str]:
    response = respond_past(request_of(path), machine)
    return response.status, msgspec.json.decode(response.content())["error"]["code"]


def test_a_past_moment_is_answered_with_the_bytes_of_then(short_dir: Path) -> None:
    recorded, machine = Remembered(short_dir / "day"), Machine(short_dir / "day", 30_000)
    rng = random.Random(1)
    then: list[tuple[int, Position | None, dict[str, tuple[int, bytes, list[tuple[str, str]]]]]] = []
    state = recorded.publisher.writer.state

    class Noted(Remembered):
        def hear(self, frames: list[bytes]) -> None:
            super().hear(frames)
            if rng.random() < 0.4:
                now_ms = self.publisher.now_ms
                view = view_of(state, now_ms, machine)
                answers = {path: said(respond(request_of(path), view, now_ms)) for path in PATHS}
                beat = decode(frames[-1])[1].kind == "heartbeat"  # then the position was reached before
                then.append((now_ms, None if beat else Position(state.epoch, state.seq), answers))

    recorded.__class__ = Noted
    recorded.segment(30)
    recorded.segment(30)
    recorded.flush()
    assert len(then) > 10
    for now_ms, position, answers in then:
        for path, answer in answers.items():
            assert said(respond_past(request_of(with_at(path, now_ms)), machine)) == answer, path
            if position is not None and rng.random() < 0.3:
                at = f"{position.epoch}:{position.seq}"
                assert said(respond_past(request_of(with_at(path, at)), machine))[:2] == answer[:2], path
    recorded.folder.close()


def test_what_was_not_recorded_or_is_no_moment_is_refused(short_dir: Path) -> None:
    machine = Machine(short_dir / "day", 30_000)
    assert error_of(machine, f"/markets?at={START_MS}") == (404, "before_begin")
    health = respond_past(request_of("/health"), machine).content()
    assert msgspec.json.decode(health) == {"status": "ok", "begin": None, "end": None}
    recorded = Remembered(short_dir / "day")
    recorded.segment()
    recorded.folder.close()
    for path, status, code in (
        ("/markets", 400, "bad_request"),
        ("/markets?at=", 400, "bad_request"),
        ("/markets?at=noon", 400, "bad_request"),
        ("/markets?at=1&at=2", 400, "bad_request"),
        ("/markets?limit=0&at=1790000000000", 400, "bad_request"),
        ("/markets?at=1790000000000&colour=red", 400, "bad_request"),
        ("/markets?at=1000", 404, "before_begin"),
        ("/markets?at=2100-01-01", 404, "after_end"),
        (f"/markets?at={START_MS}:99999", 404, "after_end"),
        ("/metrics?at=1790000000000", 404, "not_found"),
        ("/markets?at=%ff", 400, "bad_request"),
        (f"/trade-api/v2/markets/trades?at={START_MS}", 404, "not_found"),
        (f"/trade-api/v2/series/A/markets/A-1-X/candlesticks?at={START_MS}", 404, "not_found"),
        (f"/trade-api/v2/exchange/schedule?at={START_MS}", 404, "not_found"),
    ):
        assert error_of(machine, path) == (status, code), path
    foreign = HttpRequest("GET", "/markets", f"at={START_MS}", {"host": "evil.example"})
    assert respond_past(foreign, machine).status == 400
    health = respond_past(request_of("/health"), machine).content()
    assert msgspec.json.decode(health)["begin"] == "2026-09-21T14:13:20.000+00:00"


def test_the_snapshot_server_sends_on_who_asks_for_a_past_moment() -> None:
    view = msgspec.structs.replace(Machine(Path("/none"), 1).view(None), past_port=5004)
    for path in (
        "/markets?at=1",
        "/markets?limit=5&at=2026-01-01T00:00:00",
        "/trade-api/v2/markets/X?at=1:2",
    ):
        response = respond(request_of(path), view, 0)
        assert response.status == 307
        assert dict(response.headers)["location"] == f"http://127.0.0.1:5004{path}"
    assert respond(request_of("/markets?format=1"), view, 0).status == 400, "at= is in another name"
    off = msgspec.structs.replace(view, past_port=None)
    assert b"KALSHI_BUS_RECORD is no" in respond(request_of("/markets?at=1"), off, 0).content()
    split = respond(HttpRequest("GET", "/markets", "at=1\r\nx: y", HOST), view, 0)
    assert split.status == 400


def test_ops_with_at_are_answered_as_then(short_dir: Path) -> None:
    recorded = Remembered(short_dir / "day")
    recorded.segment()
    recorded.folder.close()
    answers = PastAnswers(Machine(short_dir / "day", 30_000))

    def asked(op: str, **more: Any) -> dict[str, Any]:
        return unpack_map(answers.answer(encode_map({"op": op, "id": 7, **more}), 0)[0])

    for time_ns, epoch, seq in recorded.heard[::7]:
        at = f"{epoch}:{seq}"
        digest = asked("digest", at=at)
        assert (digest["seq"], digest["digest"]) == (
            seq,
            f"{recorded.publisher.history[epoch, seq]:016x}",
        )
        frames = answers.answer(encode_map({"op": "snapshot", "id": 7, "at": time_ns // 1_000_000}), 0)
        head = decode_map(frames[0], dict[str, Any])
        assert (head["ok"], head["id"], len(frames) - 1) == (True, 7, head["chunks"])
        assert head["digest"] == recorded.publisher.history[epoch, head["as_of"]]
        assert asked("markets", at=at)["seq"] == seq
    assert asked("ping")["ok"]
    for op in ("history", "movers"):
        assert asked(op, ticker="A-1-X", at=START_MS)["error"]["code"] == "not_found", (
            "it is not in the state"
        )
    for more, code in (
        ({}, "bad_request"),
        ({"at": "noon"}, "bad_request"),
        ({"at": 1}, "before_begin"),
        ({"at": START_MS, "colour": "red"}, "bad_request"),
    ):
        refusal = asked("digest", **more)
        assert (refusal["id"], refusal["error"]["code"]) == (7, code)
    assert unpack_map(answers.answer(b"\xc1", 0)[0])["error"]["code"] == "bad_request"


@pytest.mark.e2e
def test_the_process_answers_over_http_and_its_socket(
    zmq_context: zmq.Context[Any], live: Live, runner: Runner
) -> None:
    runner.env |= {"KALSHI_BUS_FEED": live.feed, "KALSHI_BUS_QUERY": live.state}
    past, recorder = runner.start("snapshot_server.past"), runner.start("bus", "record")
    recorder.wait_event("feed.live")
    past.wait_event("process.started")
    path = runner.folder / "data" / "recording"
    eventually(lambda: path.exists() and segments_of(path))
    live.do(live.publisher.stream, live.publisher.commit, live.publisher.heartbeat)
    state = live.publisher.writer.state
    eventually(lambda: last_seq(path) == state.seq)
    at = f"{state.epoch}:{state.seq}"
    endpoint = f"ipc://{runner.run_dir}/past.sock"
    answer = ask(zmq_context, endpoint, {"op": "digest", "at": at}, 5_000)
    assert answer["digest"] == f"{state.digest():016x}"

    status, body = eventually(lambda: get(f"http://127.0.0.1:{runner.past_port}/markets?at={at}"))
    assert status == 200
    assert {market["ticker"] for market in body["markets"]["markets"]} == set(state.markets)
    assert (past.stop(), recorder.stop()) == (0, 0)
