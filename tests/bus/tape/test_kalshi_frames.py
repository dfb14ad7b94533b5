"""Kalshi's recorded WebSocket sessions, made into recordings: they play to the books they ended with."""

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bus.protocol.state import State, decode_all
from bus.tape.file import Recording
from bus.tape.kalshi_frames import convert
from bus.tape.tape import messages
from bus.testing import replay_of
from markets.records import Book
from markets.units import format_price, parse_count_e2, parse_price_e4
from tests.support import ROOT, Runner

Frame = dict[str, Any]
Timed = list[tuple[int, Frame]]
Books = dict[str, dict[str, dict[int, int]]]


def load(name: str) -> Any:
    return json.loads(gzip.decompress((ROOT / "tests/data/kalshi" / name).read_bytes()))


def orderbook_stream() -> Timed:
    return [(received_ms, frame) for received_ms, frame in load("ws_orderbook_stream.json.gz")]


def gold() -> Timed:
    """The quarter of an hour of gold, as frames: its deltas are kept without what they have in common."""
    recorded = load("ws_gold15m.json.gz")
    ticker, now_ms = recorded["ticker"], recorded["recv_ms"]

    def frame(type_: str, **message: Any) -> Frame:
        return {"type": type_, "sid": 1, "msg": {"market_ticker": ticker, **message}}

    book = frame("orderbook_snapshot", yes_dollars_fp=recorded["yes"], no_dollars_fp=recorded["no"])
    frames = [(now_ms, book)]
    for later_ms, late_ms, side, price, change in recorded["deltas"]:
        now_ms += later_ms
        delta = frame(
            "orderbook_delta", side=side, price_dollars=price, delta_fp=change, ts_ms=now_ms - late_ms
        )
        frames.append((now_ms, delta))
    return frames


def books_after(frames: Iterable[Frame]) -> Books:
    """The books at the end, by Kalshi's rules alone: a delta is added to the level's size."""
    books: Books = {}
    for frame in frames:
        message = frame.get("msg", {})
        if frame["type"] == "orderbook_snapshot":
            books[message["market_ticker"]] = {
                side: {
                    parse_price_e4(price, side): parse_count_e2(count, side)
                    for price, count in message.get(f"{side}_dollars_fp", [])
                }
                for side in ("yes", "no")
            }
        elif frame["type"] == "orderbook_delta":
            levels = books[message["market_ticker"]][message["side"]]
            price_e4 = parse_price_e4(message["price_dollars"], "price")
            levels[price_e4] = levels.get(price_e4, 0) + round(float(message["delta_fp"]) * 100)
            if not levels[price_e4]:
                del levels[price_e4]
    return books


def books_of(state: State) -> Books:
    return {ticker: {"yes": dict(book.yes), "no": dict(book.no)} for ticker, book in state.books.items()}


def on_yes_scale(frames: Timed) -> Timed:
    """The same session as if it had been subscribed with use_yes_price: NO levels at 1 - price."""

    def turned(price: str) -> str:
        return format_price(10_000 - parse_price_e4(price, "price"))

    found: Timed = []
    for now_ms, frame in frames:
        message = dict(frame.get("msg") or {})
        if frame["type"] == "orderbook_snapshot":
            levels = message.get("no_dollars_fp", [])
            message["no_dollars_fp"] = [[turned(price), size] for price, size in levels]
        elif frame["type"] == "orderbook_delta" and message["side"] == "no":
            message["price_dollars"] = turned(message["price_dollars"])
        found.append((now_ms, {**frame, "msg": message}))
    return found


def ndjson(path: Path, frames: Timed) -> Path:
    lines = (json.dumps({"recv_ms": now_ms, "event": frame}) for now_ms, frame in frames)
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


@pytest.mark.parametrize(("session", "deltas"), [(orderbook_stream, 245), (gold, 22_024)])
def test_recorded_session_plays_to_its_recorded_end(
    session: Callable[[], Timed], deltas: int, runner: Runner, short_dir: Path
) -> None:
    frames = session()
    source, path = ndjson(short_dir / "frames.ndjson.gz", frames), short_dir / "day.mcap"
    process = runner.start("bus", "import", str(source), str(path))
    assert process.wait(30) == 0
    counts = json.loads(process.output())
    sent = [now_ms for now_ms, frame in frames if frame["type"].startswith("orderbook_")]
    assert counts["deltas"] == deltas
    assert counts["books"] + counts["deltas"] == len(sent)
    assert counts["skipped"] == len(frames) - len(sent)
    assert [envelope.published_ns // 1_000_000 for _, envelope in messages(Recording(path))] == sent
    with replay_of(path) as replayed:
        replica = replayed.replica()
        replayed.resume()
        replayed.wait_end()
        assert books_of(replica.state) == books_after(frame for _, frame in frames)
        status = replayed.player.status()
        assert (status["digest_mismatches"], status["holes"], status["problem"]) == (0, 0, None)
        assert status["digests_checked"] > 0
        assert replica.now_ms() == frames[-1][0]


SNAPSHOT = {
    "type": "orderbook_snapshot",
    "sid": 1,
    "seq": 1,
    "msg": {"market_ticker": "A-1-X", "yes_dollars_fp": [["0.4700", "3.00"]], "no_dollars_fp": []},
}
DELTA = {
    "type": "orderbook_delta",
    "sid": 1,
    "seq": 2,
    "msg": {
        "market_ticker": "A-1-X",
        "price_dollars": "0.4700",
        "delta_fp": "-1.00",
        "side": "yes",
        "ts_ms": 1_786_000_000_005,
    },
}
TRADE = {
    "type": "trade",
    "sid": 2,
    "seq": 1,
    "msg": {
        "trade_id": "t",
        "market_ticker": "A-1-X",
        "yes_price_dollars": "0.4700",
        "no_price_dollars": "0.5300",
        "count_fp": "1.00",
        "taker_side": "no",
        "ts_ms": 1_786_000_000_006,
    },
}


@pytest.mark.parametrize(
    "text",
    [
        "\n\n".join(map(json.dumps, (SNAPSHOT, DELTA, TRADE))),
        json.dumps(
            {
                "note": "",
                "frames": [{"received_ms": 1_786_000_000_005, "frame": f} for f in (SNAPSHOT, DELTA, TRADE)],
            }
        ),
        json.dumps({"frames": [SNAPSHOT, DELTA, TRADE]}, indent=1),
    ],
    ids=["bare lines, blank ones between", "a document in one line", "a document in many"],
)
def test_every_form_in_which_sessions_were_recorded_is_taken(short_dir: Path, text: str) -> None:
    source, path = short_dir / "frames.json", short_dir / "day.mcap"
    source.write_text(text)
    assert convert(source, path) == {"books": 1, "deltas": 1, "trades": 1, "skipped": 0}
    with replay_of(path) as replayed:
        replica = replayed.replica()
        replayed.resume()
        replayed.wait_end()
        assert books_of(replica.state) == {"A-1-X": {"yes": {4_700: 200}, "no": {}}}


def test_a_delta_before_its_book_is_skipped(short_dir: Path) -> None:
    source = short_dir / "frames.ndjson"
    source.write_text("\n".join(map(json.dumps, (DELTA, SNAPSHOT, DELTA))))
    assert convert(source, short_dir / "day.mcap") == {"books": 1, "deltas": 1, "trades": 0, "skipped": 1}


@pytest.mark.parametrize(
    "text", ["", "\n", "{}", "[1]", "not json", '{"frames": [1]}', '{"event": "x"}', json.dumps(SNAPSHOT)]
)
def test_what_is_no_session_leaves_no_file(short_dir: Path, text: str) -> None:
    source, path = short_dir / "frames.ndjson", short_dir / "day.mcap"
    source.write_text(text)
    with pytest.raises(ValueError):
        convert(source, path)
    assert not path.exists()
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        convert(source, path)
    assert path.read_bytes() == b"precious"


def books_in(path: Path) -> list[tuple[Any, ...]]:
    return [tuple(map(bytes, envelope.records)) for _, envelope in messages(Recording(path))]


@pytest.mark.parametrize("session", [orderbook_stream, gold])
def test_no_levels_on_the_scale_of_yes_are_turned_to_their_own(
    session: Callable[[], Timed], short_dir: Path
) -> None:
    frames = session()[:2_000]
    convert(ndjson(short_dir / "no.gz", frames), short_dir / "no.mcap")
    convert(ndjson(short_dir / "yes.gz", on_yes_scale(frames)), short_dir / "yes.mcap")
    convert(ndjson(short_dir / "told.gz", on_yes_scale(frames)), short_dir / "told.mcap", yes_price=True)

    assert books_in(short_dir / "no.mcap") == books_in(short_dir / "yes.mcap")
    assert books_in(short_dir / "no.mcap") == books_in(short_dir / "told.mcap")
    assert books_in(short_dir / "no.mcap")


def a_book(yes: str, no: str) -> Frame:
    message = {"market_ticker": "KXA-1", "yes_dollars_fp": [[yes, "5.00"]], "no_dollars_fp": [[no, "5.00"]]}
    return {"type": "orderbook_snapshot", "sid": 1, "msg": message}


def test_a_book_that_would_be_crossed_on_the_one_scale_is_on_the_other(short_dir: Path) -> None:
    convert(ndjson(short_dir / "in.gz", [(1_000, a_book("0.5000", "0.5200"))]), short_dir / "out.mcap")

    (book,) = [one for _, envelope in messages(Recording(short_dir / "out.mcap"))
               for one in decode_all(envelope.kind, envelope.records) if envelope.kind == "book"]  # fmt: skip
    assert isinstance(book, Book)
    assert book.no == ((4_800, 500),)


def test_books_that_fit_both_scales_are_refused_unless_it_is_said_or_recorded(short_dir: Path) -> None:
    frames = [(1_000, a_book("0.3000", "0.6000"))]
    source, out = ndjson(short_dir / "in.gz", frames), short_dir / "out.mcap"
    with pytest.raises(ValueError, match="--use-yes-price yes or no"):
        convert(source, out)
    assert not out.exists()
    assert convert(source, out, yes_price=False)["books"] == 1
    said = {"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"], "use_yes_price": True}}
    source = ndjson(short_dir / "in.gz", [(999, said), *frames])
    assert convert(source, short_dir / "told.mcap") == {"books": 1, "deltas": 0, "trades": 0, "skipped": 1}


def test_a_crossed_moment_between_deltas_does_not_outweigh_a_snapshot(short_dir: Path) -> None:
    delta = {"market_ticker": "KXA-1", "price_dollars": "0.9500", "delta_fp": "1.00", "side": "yes"}
    frames = [(1_000, a_book("0.5000", "0.4600")), *((1_001 + n, {"type": "orderbook_delta", "msg": delta})
              for n in range(5))]  # fmt: skip

    assert convert(ndjson(short_dir / "in.gz", frames), short_dir / "out.mcap")["deltas"] == 5


def test_a_frame_that_cannot_be_read_costs_itself(short_dir: Path) -> None:
    whole = json.dumps({"received_ms": 1_795_918_571_000, "frame": a_book("0.5000", "0.4600")}).encode()
    odd = [
        b'{"received_ms":[1],"frame":{"type":"trade","msg":{"market_ticker":"\xff"}}}',
        b'{"received_ms":1e999,"frame":{"type":"\\ud800"}}',
        b'{"received_ms":' + b"9" * 60 + b',"frame":{"type":"ok","sid":' + b"9" * 60 + b"}}",
    ]
    source = short_dir / "in"
    source.write_bytes(b"\n".join([whole, *odd, whole]))

    assert convert(source, short_dir / "out.mcap", yes_price=False) == {
        "books": 2, "deltas": 0, "trades": 0, "skipped": 3,
    }  # fmt: skip
    assert Recording(short_dir / "out.mcap").problem is None


@pytest.mark.parametrize(("cut", "words"), [(slice(40), "damaged: "), (slice(None), "nested too deeply")])
def test_a_file_that_is_none_is_refused_in_words(short_dir: Path, cut: slice, words: str) -> None:
    source = short_dir / "in.gz"
    source.write_bytes(gzip.compress(b"[" * 200_000)[cut])
    with pytest.raises(ValueError, match=words):
        convert(source, short_dir / "out.mcap")
    assert not (short_dir / "out.mcap").exists()
