"""The REST client against real sockets; waits pass on a manual clock."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from bus.clock import ManualClock
from markets.json.pages import split_list
from markets.json.words import COST
from publisher.kalshi import client as module
from publisher.kalshi.answers import Adapter
from publisher.kalshi.answers import Answer as AnswerInTime
from publisher.kalshi.budget import BASIC, Budget
from publisher.kalshi.client import (
    ATTEMPTS,
    Client,
    ExchangeError,
    KeyRefused,
    NotFound,
    Stopped,
    cache_age_s,
)
from publisher.kalshi.signing import KeySource
from tests.publisher.exchange import (
    BROKEN,
    HTML,
    KEY_ID,
    TOO_MANY,
    Answer,
    FakeExchange,
    event,
    market,
    on,
    write_key,
)
from tests.publisher.kalshi.answering import NO_KEY, Waiting
from tests.publisher.kalshi.answering import clock as clock  # noqa: PLC0414  a fixture
from tests.publisher.orders import peer as peer_module
from tests.publisher.orders.peer import Peer


@pytest.fixture
def exchange() -> Iterator[FakeExchange]:
    with FakeExchange() as made:
        for number in range(5):
            made.list_event(event(f"E{number}", "S", market(f"E{number}-A", f"E{number}")))
        yield made


@pytest.fixture
def waiting(clock: ManualClock) -> Waiting:
    return Waiting(clock)


@pytest.fixture
def budget(clock: ManualClock) -> Budget:
    budget = Budget(BASIC, Random(1), 0.0)
    clock.advance(10_000)
    return budget


@pytest.fixture
def client(exchange: FakeExchange, clock: ManualClock, waiting: Waiting, budget: Budget) -> Iterator[Client]:
    made = Client(exchange.url, NO_KEY, budget, clock, Random(1), waiting)
    yield made
    made.close()


def events_of(body: bytes) -> tuple[list[str], str | None]:
    raws, cursor = split_list(body, "events")
    return [bytes(raw).decode() for raw in raws], cursor


def test_unsigned_without_a_key(client: Client, exchange: FakeExchange) -> None:
    client.get("/exchange/status", read=len)

    assert not [name for name in exchange.headers[0] if name.upper().startswith("KALSHI")]


def test_every_request_is_signed_with_a_key(
    tmp_path: Path, exchange: FakeExchange, clock: ManualClock, waiting: Waiting, budget: Budget
) -> None:
    exchange.make_key(tmp_path)
    keys = KeySource(tmp_path / "sim_private_key.pem", None, tmp_path / "sim_key_id")
    client = Client(exchange.url, keys, budget, clock, Random(1), waiting)

    client.get("/markets", [("tickers", "E1-A,E2-A"), ("limit", 1000)], read=len)
    client.close()

    assert exchange.paths == ["/markets?tickers=E1-A,E2-A&limit=1000"]
    assert exchange.headers[0]["KALSHI-ACCESS-KEY"] == KEY_ID


def test_refused_key_ends_at_once_and_is_read_again(
    tmp_path: Path, exchange: FakeExchange, clock: ManualClock, waiting: Waiting, budget: Budget
) -> None:
    exchange.make_key(tmp_path)
    good = (tmp_path / "sim_private_key.pem").read_bytes()
    write_key(tmp_path, rsa.generate_private_key(65537, 2048))
    keys = KeySource(tmp_path / "sim_private_key.pem", None, tmp_path / "sim_key_id")
    client = Client(exchange.url, keys, budget, clock, Random(1), waiting)
    with pytest.raises(KeyRefused, match="401 authentication_error"):
        client.get("/exchange/status", read=len)
    assert len(exchange.paths) == 1

    (tmp_path / "sim_private_key.pem").write_bytes(good)

    client.get("/exchange/status", read=len)
    client.close()


def test_unusable_key_file_sends_nothing(
    tmp_path: Path, exchange: FakeExchange, clock: ManualClock, waiting: Waiting, budget: Budget
) -> None:
    keys = KeySource(tmp_path / "sim_private_key.pem", None, tmp_path / "sim_key_id")
    client = Client(exchange.url, keys, budget, clock, Random(1), waiting)

    with pytest.raises(KeyRefused, match="sim_private_key"):
        client.get("/exchange/status", read=len)

    assert exchange.paths == []


def test_clock_offset_is_named_when_a_signature_is_refused(client: Client, exchange: FakeExchange) -> None:
    late = Answer(401, b'{"error":{"code":"header_timestamp_expired","message":"expired"}}')
    exchange.next_faults.append(late)

    with pytest.raises(KeyRefused, match=r"header_timestamp_expired.*clock differs by [-+]\d+ s"):
        client.get("/exchange/status", read=len)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (TOO_MANY, "rate_limited"),
        (Answer(429, b'{"error":"too many requests"}'), "rate_limited"),
        (BROKEN, "server_error"),
        (Answer(502, b"<html>Bad gateway</html>"), "server_error"),
        (HTML, "bad_reply"),
        (Answer(200, b'{"events":[{"event'), "bad_reply"),
        (Answer(200, b'{"cursor":""}'), "bad_reply"),
        (Answer(200, b"[" * 100_000), "bad_reply"),
        (Answer(200, b"", (("Content-Encoding", "gzip"),)), "bad_reply"),
        (Answer(200, b"not gzip", (("Content-Encoding", "gzip"),)), "bad_reply"),
        (Answer(200, b'{"events":[', cut=100), "unreachable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_passing_trouble_is_retried_and_lasting_trouble_is_named(
    client: Client, exchange: FakeExchange, fault: Answer, outcome: str
) -> None:
    exchange.next_faults.extend([fault, fault])
    (events, _), _ = client.get("/events", read=events_of)
    assert len(events) == 5
    assert client.reachable

    exchange.faults.append(on("/events", fault))
    before = len(exchange.paths)
    with pytest.raises(ExchangeError) as failure:
        client.get("/events", read=events_of)

    assert failure.value.outcome == outcome
    assert len(exchange.paths) == before + ATTEMPTS


def test_pauses_between_attempts_grow(client: Client, exchange: FakeExchange, waiting: Waiting) -> None:
    exchange.faults.append(on("/events", BROKEN))

    with pytest.raises(ExchangeError):
        client.get("/events", read=events_of)

    assert len(waiting.waits) == ATTEMPTS - 1
    assert waiting.waits == sorted(waiting.waits)
    assert 3 < sum(waiting.waits) < 8


def test_429_empties_the_budget(client: Client, exchange: FakeExchange, budget: Budget) -> None:
    exchange.next_faults.append(Answer(429, b"{}", (("Retry-After", "20"),)))

    client.get("/exchange/status", read=len)

    assert budget.refusals == 1
    assert client._clock.monotonic_ns() >= 30_000_000_000  # 10 s at the start and the 20 asked for


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(404, b'{"error":{"code":"not_found","message":"x"}}'), NotFound),
        (Answer(400, b'{"msg":"Parameter validation failed"}'), ExchangeError),
        (Answer(403, b'{"code":"forbidden","message":"no","details":"d"}'), ExchangeError),
        (Answer(302, b"", (("Location", "http://127.0.0.1:1/"),)), ExchangeError),
    ],
    ids=["404", "400", "403", "302"],
)
def test_a_clear_no_is_not_retried(
    client: Client, exchange: FakeExchange, answer: Answer, error: type[ExchangeError]
) -> None:
    exchange.next_faults.append(answer)

    with pytest.raises(error, match=str(answer.status)):
        client.get("/events", read=events_of)

    assert len(exchange.paths) == 1


def test_nobody_there_is_unreachable(clock: ManualClock, waiting: Waiting, budget: Budget) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/trade-api/v2"
        client = Client(url, NO_KEY, budget, clock, Random(1), waiting)

        with pytest.raises(ExchangeError, match="Connection refused") as failure:
            client.get("/events", read=events_of)

    assert failure.value.outcome == "unreachable"
    assert not client.reachable


@pytest.mark.parametrize(
    ("proxy", "host", "said"),
    [("socks5h://127.0.0.1:9", "exchange.invalid", "SOCKS"), ("", "exchange..invalid", "label empty")],
)
def test_a_proxy_or_a_name_that_cannot_be_used_is_named(
    proxy: str,
    host: str,
    said: str,
    clock: ManualClock,
    waiting: Waiting,
    budget: Budget,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    client = Client(f"https://{host}/trade-api/v2", NO_KEY, budget, clock, Random(1), waiting)
    with closing(client), pytest.raises(ExchangeError, match=said) as caught:
        client.get("/events", read=events_of, attempts=1)
    assert caught.value.outcome == "unreachable"


def test_silent_server_times_out(
    clock: ManualClock, waiting: Waiting, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT_S", 0.05)
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/trade-api/v2"
        client = Client(url, NO_KEY, budget, clock, Random(1), waiting)

        with pytest.raises(ExchangeError) as failure:
            client.get("/events", read=events_of)

    assert failure.value.outcome == "timeout"


@pytest.mark.parametrize("head", [1, 600])
def test_an_answer_that_comes_a_byte_at_a_time_times_out(
    clock: ManualClock,
    waiting: Waiting,
    budget: Budget,
    monkeypatch: pytest.MonkeyPatch,
    head: int,
) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT_S", 0.15)
    monkeypatch.setattr("publisher.kalshi.answers.BODY_TIMES", 0.1)
    slowly = b"HTTP/1.1 200 OK\r\nX-Long: %b\r\nContent-Length: 600\r\n\r\n{}" % (b"x" * head)
    with Peer() as peer:
        peer.answers.put(peer_module.Answer(slowly + b" " * 598, pause_s=0.001))
        client = Client(peer.url, NO_KEY, budget, clock, Random(1), waiting)

        with pytest.raises(ExchangeError) as failure:
            client.get("/events", read=events_of, attempts=1)

    assert failure.value.outcome == "timeout"


def test_a_socks_proxy_is_not_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    class Socks:
        def __init__(self, *_: object, **__: object) -> None:
            self.pool_classes_by_scheme = {"https": "through the proxy"}

    monkeypatch.setattr("requests.adapters.SOCKSProxyManager", Socks)
    adapter = Adapter()
    socks = adapter.proxy_manager_for("socks5://proxy:1080")
    plain = adapter.proxy_manager_for("http://proxy:3128")
    assert socks.pool_classes_by_scheme == {"https": "through the proxy"}
    assert plain.pool_classes_by_scheme["https"].ConnectionCls.response_class is AnswerInTime


def test_what_follows_an_answer_has_all_of_its_time() -> None:
    """A proxy's answer to CONNECT may be slow, and then comes the handshake."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(3.0)
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        answer = AnswerInTime(ours)
        answer.begin()
        answer.close()
        assert ours.gettimeout() == 3.0


def test_each_answer_is_that_of_its_own_request(clock: ManualClock, waiting: Waiting, budget: Budget) -> None:
    with Peer() as peer:
        peer.answers.put(peer_module.Answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" + peer_module.OK))
        client = Client(peer.url, NO_KEY, budget, clock, Random(1), waiting)

        assert client.get("/events", read=bytes, attempts=1)[0] == b"{}"


def test_endless_body_is_refused(
    client: Client, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 1000)
    exchange.faults.append(on("/events", Answer(200, b"x" * 5000)))

    with pytest.raises(ExchangeError, match="more than 1000 bytes"):
        client.get("/events", read=events_of)


def test_pages_are_walked_to_the_end(client: Client, exchange: FakeExchange) -> None:
    exchange.page_size = 2

    found = [event for events, _ in client.pages("/events", [], read=events_of) for event in events]

    assert len(found) == 5


def test_cursor_that_comes_again_ends_the_walk(client: Client, exchange: FakeExchange) -> None:
    exchange.page_size = 1
    exchange.cursor_after = lambda end: str(end % 3)
    pages = client.pages("/events", [], read=events_of)

    with pytest.raises(ExchangeError, match="came again") as failure:
        for _ in pages:
            pass

    assert failure.value.outcome == "cursor_loop"
    assert len(exchange.paths) <= 5


def test_walk_without_an_end_is_bounded(client: Client, exchange: FakeExchange) -> None:
    exchange.faults.append(lambda _path: Answer(200, b'{"events":[],"cursor":"%d"}' % len(exchange.paths)))

    with pytest.raises(ExchangeError, match="no end"):
        list(client.pages("/events", [], read=events_of, longest=7))

    assert len(exchange.paths) == 7


def test_reply_is_as_old_as_its_cache_says(
    client: Client, exchange: FakeExchange, clock: ManualClock
) -> None:
    exchange.next_faults.append(Answer(200, b"{}", (("Age", "7"), ("Cache-Control", "public, max-age=15"))))

    _, reply = client.get("/markets", read=len)

    assert reply.as_of_ms == clock.now_ms() - 7_000


def test_reply_is_as_old_as_its_question(client: Client, exchange: FakeExchange, clock: ManualClock) -> None:
    asked_ms = clock.now_ms()
    exchange.faults.append(lambda _path: clock.advance(5_000))  # so long it is under way

    _, reply = client.get("/events", read=len)

    assert reply.as_of_ms == asked_ms


@pytest.mark.parametrize(
    ("headers", "age_s"),
    [
        ({}, 0),
        ({"Age": "3"}, 3),
        ({"Age": "nonsense"}, 0),
        ({"Age": "-5"}, 0),
        ({"Cache-Control": "public, max-age=15"}, 15),
        ({"Cache-Control": "max-age=600"}, 15),
        ({"Cache-Control": "max-age=5"}, 5),
        ({"Cache-Control": "no-store"}, 0),
        ({"Cache-Control": "max-age=15", "Age": "0"}, 0),
        ({"Age": "9" * 30}, 86_400),
    ],
)
def test_cache_age(headers: dict[str, str], age_s: int) -> None:
    assert cache_age_s(headers) == age_s


def test_waiting_for_the_budget_ends_with_the_stop(
    client: Client, exchange: FakeExchange, budget: Budget, clock: ManualClock, waiting: Waiting
) -> None:
    while not budget.take(COST, clock.monotonic_ns() / 1e9):
        pass
    waiting.stop_after = 1

    with pytest.raises(Stopped):
        client.get("/events", read=events_of)

    assert exchange.paths == []


def test_requests_never_outrun_the_budget(client: Client, clock: ManualClock, budget: Budget) -> None:
    start_s = clock.monotonic_ns() / 1e9
    for _ in range(120):
        client.get("/exchange/status", read=len)

    passed_s = clock.monotonic_ns() / 1e9 - start_s
    assert budget.capacity + budget.rate_per_s * passed_s >= 120 * COST


def test_a_second_request_at_once_is_our_mistake_and_said_so(client: Client, exchange: FakeExchange) -> None:
    mistakes: list[str] = []

    def meanwhile(_path: str) -> None:
        with pytest.raises(AssertionError) as caught:  # in the exchange's thread
            client.get("/series", read=bytes)
        mistakes.append(str(caught.value))

    exchange.faults.append(meanwhile)
    for _ in range(2):
        client.get("/events", read=bytes)

    assert mistakes == ["a client makes one request at a time"] * 2


def test_a_route_beside_the_prices_says_nothing_of_the_exchange_once_that_has_answered(
    client: Client, exchange: FakeExchange
) -> None:
    exchange.faults.append(on("/series", BROKEN))
    for answered in (False, True):
        if answered:
            client.get("/events", read=bytes)
        client.beside = True
        with pytest.raises(ExchangeError):
            client.get("/series", read=bytes)
        client.beside = False
        assert (client.reachable, client.trouble is None) == (answered, answered)


def test_the_body_of_what_is_asked_with_little_patience_is_waited_for_as_little(
    clock: ManualClock, waiting: Waiting, budget: Budget
) -> None:
    slowly = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{}" + b" " * 898
    with Peer() as peer:
        peer.answers.put(peer_module.Answer(slowly, pause_s=0.001))
        client = Client(peer.url, NO_KEY, budget, clock, Random(1), waiting)

        with pytest.raises(ExchangeError) as failure:
            client.get("/exchange/status", read=bytes, attempts=1, within_s=0.1)

    assert failure.value.outcome == "timeout"
