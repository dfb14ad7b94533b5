"""States that keep less than they were sent: the same digests, bytes passed on and decisions."""

import threading
from typing import Any

import msgspec
import pytest

import bus.protocol.memory
import bus.protocol.state
from bus.protocol.answers import Answers
from bus.protocol.digest import record_hash
from bus.protocol.memory import Keeping, Packed, Slim
from bus.protocol.messages import Chunk, decode_chunk, encode_chunk, encode_record
from bus.protocol.state import Before, State
from bus.scan.membership import Membership
from markets.json.read import competition_of, custom_strike_keys, mentions_fair_price
from markets.opportunities import ScanLimits, candidates
from markets.records import Market, Quote, Record, Remove
from tests.bus.world import a_market, a_quote
from tests.snapshot_server.venue import a_catalogue, a_writer

NOW_MS = 1_790_000_000_000
CATALOGUE = a_catalogue(300, NOW_MS)
TRUTH = a_writer(CATALOGUE, NOW_MS, NOW_MS).state


def chunks_of(state: State) -> list[Chunk]:
    """What a snapshot of it says, as it comes over the wire."""
    return [decode_chunk(encode_chunk(chunk)) for topic in state.streams for chunk in state.chunk(topic)]


def kept(keeping: Keeping | None) -> State:
    """The state of a replica that has joined."""
    state = State(NOW_MS, keeping)
    put_chunks(state, chunks_of(TRUTH))
    with state.lock:
        state.set_cycle(TRUTH.cycle, {})
    state.seq = TRUTH.seq
    return state


def put_chunks(state: State, chunks: list[Chunk], before: Before | None = None) -> None:
    with state.lock:
        for chunk in chunks:
            state.put_chunk(chunk, before)


def apply(state: State, topic: str, seq: int, kind: str, *records: Record) -> None:
    with state.lock:
        state.apply(topic, seq, kind, list(map(encode_record, records)))


def put_quotes(state: State, topic: str, seq: int, *quotes: Quote) -> None:
    with state.lock:
        state.put_quotes(state.streams[topic], seq, quotes, [])


def records_of(chunks: list[Chunk]) -> list[tuple[str, str, list[bytes]]]:
    return [(chunk.topic, kind, list(map(bytes, raws))) for chunk in chunks for kind, raws in chunk.content]


def by_topic(state: State) -> dict[str, set[tuple[str, bytes]]]:
    """What the streams of a state say, without the order of records."""
    said: dict[str, set[tuple[str, bytes]]] = {}
    for topic, kind, raws in records_of(chunks_of(state)):
        said.setdefault(topic, set()).update((kind, raw) for raw in raws)
    return said


WAYS = {
    "as they came": lambda: None,
    "shared": Keeping,
    "packed": lambda: Packed(sample_bytes=20_000),
    "waiting for samples": Packed,
    "slim": Slim,
}


@pytest.mark.parametrize("way", WAYS)
def test_digests_do_not_depend_on_how_records_are_kept(way: str) -> None:
    state = kept(WAYS[way]())
    assert state.digest() == TRUTH.digest()
    ticker = CATALOGUE.markets[3].ticker
    topic = state.stream_of[ticker]
    for truth in (State(NOW_MS), state):
        if truth is not state:
            put_chunks(truth, chunks_of(TRUTH))
        changed = msgspec.structs.replace(CATALOGUE.markets[3], title="Another")
        quote = msgspec.structs.replace(CATALOGUE.quotes[3], yes_bid_e4=1_200, volume_e2=77)
        gone = Remove("market", next(key for key in truth.streams[topic].keys["market"] if key != ticker))
        for kind, record in (("market", changed), ("quote", quote), ("remove", gone)):
            apply(truth, topic, 1, kind, record)
        put_quotes(truth, topic, 2, msgspec.structs.replace(quote, yes_ask_e4=9_000))
        if truth is not state:
            expected = truth.digest()
    assert state.digest() == expected


@pytest.mark.parametrize("way", ["shared", "packed", "waiting for samples"])
def test_what_is_kept_is_passed_on_byte_for_byte(way: str) -> None:
    state = kept(WAYS[way]())
    assert records_of(chunks_of(state)) == records_of(chunks_of(TRUTH))
    for ticker, market in TRUTH.markets.items():
        assert state.raw(state.markets[ticker]) == market.raw
    answers = Answers(lambda: state)
    assert len(answers.answer(b"\x82\xa2op\xa8snapshot\xa2id\x01", NOW_MS)) > len(TRUTH.streams)


def test_a_market_packed_while_it_is_passed_on_is_passed_on_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait for samples are packed by the thread of the replica, whoever reads meanwhile."""
    keeping = Packed(sample_bytes=1)
    sent = encode_record(a_market("A-1-X", "A"))
    waiting = msgspec.msgpack.decode(sent, type=Market)

    def late(record: Market) -> bytes:
        keeping.keep("market", [waiting], [sent])
        return encode_record(record)

    monkeypatch.setattr(bus.protocol.memory, "encode_record", late)
    assert keeping.encoded("market", waiting) == sent
    assert keeping.raw(waiting) == a_market("A-1-X", "A").raw


@pytest.mark.parametrize("way", WAYS)
def test_what_a_new_epoch_says_again_is_taken_from_the_state_before(way: str) -> None:
    keeping = WAYS[way]()
    old = kept(keeping)
    old.digest()
    market, quote = CATALOGUE.markets[3], CATALOGUE.quotes[4]
    topic = TRUTH.stream_of[market.ticker]
    truth = State(NOW_MS + 1)
    put_chunks(truth, chunks_of(TRUTH))
    market = msgspec.structs.replace(market, title="Another", raw=market.raw.replace(b"{", b'{"x":1,', 1))
    quote = msgspec.structs.replace(quote, volume_e2=77)
    apply(truth, topic, 0, "market", market)
    apply(truth, truth.stream_of[quote.ticker], 0, "quote", quote)

    new, before = State(NOW_MS + 1, keeping), Before(old)
    put_chunks(new, chunks_of(truth), before)

    assert new.digest() == truth.digest()
    assert old.digest() == TRUTH.digest()
    for kind, records in new.records.items():
        if kind == "book":
            continue  # its hash is not that of its bytes
        changed = {key for key, record in records.items() if record is not old.records[kind].get(key)}
        assert changed == {"market": {market.ticker}, "quote": {quote.ticker}}.get(kind, set())
    if way != "slim":
        assert by_topic(new) == by_topic(truth)


def test_packed_markets_are_small_whatever_was_there_first() -> None:
    state = kept(Packed(sample_bytes=20_000))
    sizes = [len(market.raw) for market in state.markets.values()]
    assert max(sizes) < 1_000
    assert sum(sizes) < sum(len(market.raw) for market in TRUTH.markets.values()) / 4


def test_packed_markets_are_read_by_several_threads_at_once() -> None:
    state = kept(Packed(sample_bytes=20_000))
    wrong: list[str] = []

    def read() -> None:
        for _ in range(20):
            wrong.extend(t for t, m in TRUTH.markets.items() if state.raw(state.markets[t]) != m.raw)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_slim_records_say_the_same_to_the_domain() -> None:
    state = kept(Slim())
    for ticker, market in TRUTH.markets.items():
        slim = state.markets[ticker]
        assert len(slim.raw) < 100
        assert custom_strike_keys(slim) == custom_strike_keys(market)
        assert mentions_fair_price(slim) == mentions_fair_price(market)
        assert msgspec.structs.replace(slim, raw=market.raw, title=market.title) == market
    for ticker, event in TRUTH.events.items():
        assert competition_of(state.events[ticker]) == competition_of(event)
    assert any(mentions_fair_price(market) for market in TRUTH.markets.values())
    assert any(custom_strike_keys(market) for market in TRUTH.markets.values())
    assert any(competition_of(event).competition for event in TRUTH.events.values())


def test_slim_records_give_the_same_opportunities() -> None:
    def scan(state: State) -> list[Any]:
        membership = Membership()
        membership.rebuild(state)
        views = [membership.view(state, event, NOW_MS) for event in sorted(state.events)]
        return [
            one for view in views if view for one in candidates(view, {}, NOW_MS, ScanLimits()).opportunities
        ]

    found = scan(kept(Slim()))
    assert found == scan(kept(None))
    assert found


def test_a_slim_replica_cannot_pass_on_what_it_has_not_got() -> None:
    state = kept(Slim())
    with pytest.raises(NotImplementedError):
        state.chunk("ref.")


def test_markets_of_an_event_hold_their_common_values_once() -> None:
    state = State(1, Keeping())
    markets = [a_market(f"A-1-{name}", "A") for name in "XY"]
    apply(state, "md.A.", 1, "market", *markets)
    one, other = (state.markets[market.ticker] for market in markets)
    for name in Market.__struct_fields__:
        if name not in ("ticker", "title", "yes_sub_title", "raw"):
            assert getattr(one, name) is getattr(other, name)
    assert [one, other] == markets


def test_a_quote_shares_its_ticker_and_prices_once_it_is_settled() -> None:
    state = State(1, Keeping())
    apply(state, "md.A.", 1, "market", a_market("A-1-X", "A"))
    for number in (2, 3):
        quote = a_quote("A-1-X", yes_bid_e4=4_000 + number)
        if number == 2:
            apply(state, "md.A.", number, "quote", quote)
        else:
            put_quotes(state, "md.A.", number, msgspec.msgpack.decode(encode_record(quote), type=Quote))
        state.digest()
        held = state.quotes["A-1-X"]
        assert held == quote
        assert held.ticker is state.markets["A-1-X"].ticker
        assert held.yes_bid_e4 == 4_000 + number


def test_what_the_state_before_has_is_never_known_by_the_hash_of_what_it_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reader may be hashing its quotes in another thread: a hash of before is not the new quote's."""
    old = State(1)
    apply(old, "md.A.", 1, "quote", a_quote("A-1-X", yes_bid_e4=1_000))
    old.digest()
    now = a_quote("A-1-X", yes_bid_e4=2_000)
    apply(old, "md.A.", 2, "quote", now)
    hashing, go_on = threading.Event(), threading.Event()

    def slowly(raw: bytes) -> int:
        hashing.set()
        assert go_on.wait(30)
        return record_hash(raw)

    monkeypatch.setattr(bus.protocol.state, "record_hash", slowly)
    found: list[Any] = []
    reader = threading.Thread(target=old.digest)
    reader.start()
    assert hashing.wait(30)
    follower = threading.Thread(target=lambda: found.append(Before(old).known("quote")))
    follower.start()
    follower.join(0.1)  # time to go wrong; none is needed to go right
    go_on.set()
    for thread in (reader, follower):
        thread.join()
    assert found == [{record_hash(encode_record(now)): now}]
