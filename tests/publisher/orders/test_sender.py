"""What is sent is sent once, soon and signed, and whether it may have left is certain."""

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bus.clock import SystemClock
from publisher.kalshi.signing import KeySource
from publisher.orders.connection import Connection, _alive
from publisher.orders.sender import Sender
from publisher.orders.steps import AHEAD_MS, Reply, Request
from tests.publisher.orders.peer import OK, Answer, Peer
from tests.support import eventually

CREATE = Request(1, "create", "POST", "/portfolio/events/orders", (), b'{"count":"1.00"}', "create")
CANCEL = Request(2, "cancel", "DELETE", "/portfolio/events/orders/a", urgency="cancel")
LIST = Request(3, "resting", "GET", "/portfolio/orders", (("status", "resting"),))
CLOCK = SystemClock()


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


@pytest.fixture
def keys(tmp_path: Path) -> KeySource:
    path = tmp_path / "key.pem"
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(Ed25519PrivateKey.generate().private_bytes(encoding, form, serialization.NoEncryption()))
    path.chmod(0o600)
    return KeySource(path, "an-id", None)


def connect(peer: Peer, keys: KeySource, why: str | None = None) -> Connection:
    return Connection(peer.url, keys, CLOCK, lambda _request: why, lambda: 3_600_000)


def test_a_request_is_signed_by_the_exchange_s_clock_on_a_connection_that_stays(
    peer: Peer, keys: KeySource
) -> None:
    connection = connect(peer, keys)
    connection.warm()
    for _ in range(2):
        date = b"Date: Mon, 19 Oct 2026 18:00:00 GMT\r\n"
        said = b"HTTP/1.1 201 Created\r\n" + date + b'Content-Length: 16\r\n\r\n{"order_id":"a"}'
        peer.answers.put(Answer(said))
        before_ms = CLOCK.now_ms()

        reply = connection.exchange(msgspec.structs.replace(CREATE, query=(("exchange_index", "0"),)))

        assert (reply.status, reply.body, reply.left, reply.trouble) == (201, b'{"order_id":"a"}', True, "")
        assert before_ms <= reply.signed_ms <= reply.received_ms <= CLOCK.now_ms()
        assert reply.date_ms == 1_792_432_800_000
        head, _, body = peer.heard.get(timeout=30).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert first == "POST /trade-api/v2/portfolio/events/orders?exchange_index=0 HTTP/1.1"
        assert body == CREATE.body
        assert headers["Content-Length"] == str(len(body))
        assert int(headers["KALSHI-ACCESS-TIMESTAMP"]) - reply.signed_ms == 3_600_000
    assert peer.connections == 1
    connection.close()


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        (b"", "unreachable"),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{", "bad_reply"),
        (b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad_reply"),
        (b"\xff\xfe\x00 nonsense\r\n\r\n", "bad_reply"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "bad_reply"),
    ],
)
def test_a_reply_that_is_none_may_have_left_and_is_not_asked_for_again(
    peer: Peer, keys: KeySource, content: bytes, trouble: str
) -> None:
    connection = connect(peer, keys)
    peer.answers.put(Answer(content, ends=True))

    reply = connection.exchange(CREATE)

    assert (reply.status, reply.body, reply.left) == (None, b"", True)
    assert reply.trouble == trouble
    assert peer.heard.get(timeout=30).startswith(b"POST ")
    peer.answers.put(Answer())
    assert connection.exchange(CANCEL).status == 200
    assert peer.heard.get(timeout=30).startswith(b"DELETE ")
    assert peer.heard.empty()
    connection.close()


SLOWLY = b"HTTP/1.1 200 OK\r\nX-Long: %b\r\nContent-Length: 600\r\n\r\n{}" + b" " * 598


@pytest.mark.parametrize("head", [1, 600])
def test_an_answer_that_comes_a_byte_at_a_time_is_none(
    peer: Peer, keys: KeySource, monkeypatch: pytest.MonkeyPatch, head: int
) -> None:
    monkeypatch.setattr("publisher.orders.connection.READ_TIMEOUT_S", 0.15)
    monkeypatch.setattr("publisher.kalshi.answers.BODY_TIMES", 0.1)
    connection = connect(peer, keys)
    peer.answers.put(Answer(SLOWLY % (b"x" * head), pause_s=0.001))

    reply = connection.exchange(CREATE)

    assert (reply.status, reply.trouble, reply.left) == (None, "timeout", True)
    peer.answers.put(Answer())
    assert connection.exchange(CANCEL).status == 200
    connection.close()


def test_what_is_said_before_an_answer_is_none(peer: Peer, keys: KeySource) -> None:
    """Taken for one, it would leave the answer itself to the next request."""
    connection = connect(peer, keys)
    before = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    peer.answers.put(Answer(before + OK))

    assert connection.exchange(CREATE).body == b"{}"

    peer.answers.put(Answer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + OK))
    assert connection.exchange(CREATE).trouble == "bad_reply"
    connection.close()


def test_what_never_left_says_so(peer: Peer, keys: KeySource) -> None:
    late = msgspec.structs.replace(CREATE, not_after_ms=CLOCK.now_ms() - 1)
    lost_key = KeySource(Path("/nowhere/key.pem"), "an-id", None)
    nobody = Connection("http://127.0.0.1:1/x", keys, CLOCK, lambda _request: None)
    held, free, unsigned = connect(peer, keys, "killed"), connect(peer, keys), connect(peer, lost_key)
    replies = {
        "killed": held.exchange(CREATE),
        "expired": free.exchange(late),
        "unreachable": nobody.exchange(CREATE),
        "key_unusable": unsigned.exchange(CREATE),
    }
    for trouble, reply in replies.items():
        assert (reply.status, reply.trouble, reply.left) == (None, trouble, False)
    assert peer.heard.empty()
    for connection in (held, free, nobody, unsigned):
        connection.close()


def test_an_idle_connection_that_was_closed_is_made_again_before_anything_is_sent(
    peer: Peer, keys: KeySource
) -> None:
    connection = connect(peer, keys)
    for count in (1, 2, 3):
        peer.answers.put(Answer(ends=True))
        assert connection.exchange(CANCEL).status == 200
        assert peer.connections == count
        opened = connection._open
        assert opened is not None
        eventually(lambda sock=opened.sock: not _alive(sock), what="the end has come")  # type: ignore[misc]
    assert peer.connections == 3
    connection.close()


def test_cancels_overtake_what_waits_and_reads_hold_up_nothing(peer: Peer, keys: KeySource) -> None:
    told: queue.SimpleQueue[tuple[Request, Reply]] = queue.SimpleQueue()
    sender = Sender(
        peer.url, keys, CLOCK, lambda _request: None, lambda *answer: told.put(answer), writers=1, readers=1
    )
    sender.start()
    sender.send(LIST)
    assert peer.heard.get(timeout=30).startswith(b"GET /trade-api/v2/portfolio/orders?status=resting ")
    sender.send(CREATE)  # under way, while the list has no answer
    assert peer.heard.get(timeout=30).startswith(b"POST ")
    second = msgspec.structs.replace(CREATE, id=4)
    for request in (second, CANCEL):
        sender.send(request)
    for _ in range(2):
        peer.answers.put(Answer())
    assert peer.heard.get(timeout=30).startswith(b"DELETE ")
    for _ in range(2):
        peer.answers.put(Answer())
    replies = {request.id: reply for request, reply in (told.get(timeout=30) for _ in range(4))}
    assert {reply.status for reply in replies.values()} == {200}

    sender.stop(5)
    sender.send(CREATE)
    request, reply = told.get(timeout=30)
    assert (request.id, reply.left, reply.trouble) == (1, False, "stopped")
    assert not any(thread.name.startswith("send-") for thread in threading.enumerate())


# -- signed ahead


def timestamp(heard: bytes) -> int:
    (line,) = [one for one in heard.split(b"\r\n") if one.startswith(b"KALSHI-ACCESS-TIMESTAMP: ")]
    return int(line.partition(b": ")[2])


class Stood:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = 1_795_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def now_ns(self) -> int:
        return self.ms * 1_000_000

    def monotonic_ns(self) -> int:
        return self.ms * 1_000_000


def test_a_signature_made_ahead_is_used_once_and_for_what_it_was_made(peer: Peer, keys: KeySource) -> None:
    clock = Stood()
    connection = Connection(peer.url, keys, clock, lambda _request: None)
    connection.warm()
    connection.sign_ahead("POST", CREATE.path)
    made_ms = clock.ms
    clock.ms += 900
    stamps = []
    for request in (CREATE, CREATE):
        peer.answers.put(Answer())
        reply = connection.exchange(request)
        stamps.append((timestamp(peer.heard.get(timeout=30)), reply.signed_ms))
    assert stamps == [(made_ms, made_ms), (clock.ms, clock.ms)]

    connection.sign_ahead("POST", CREATE.path)
    clock.ms += 900
    peer.answers.put(Answer())
    connection.exchange(CANCEL)
    assert timestamp(peer.heard.get(timeout=30)) == clock.ms
    connection.close()


@pytest.mark.parametrize("changed", ["old", "back", "exchange", "key"])
def test_a_signature_made_ahead_is_not_used_once_it_is_worse_than_a_new_one(
    peer: Peer, keys: KeySource, changed: str
) -> None:
    clock, ahead_ms = Stood(), [0]
    connection = Connection(peer.url, keys, clock, lambda _request: None, lambda: ahead_ms[0])
    connection.warm()
    connection.sign_ahead("POST", CREATE.path)
    clock.ms += {"old": AHEAD_MS + 1, "back": -1}.get(changed, 1)
    ahead_ms[0] += 5_000 if changed == "exchange" else 0
    if changed == "key":
        keys.refused()
    peer.answers.put(Answer())

    reply = connection.exchange(CREATE)

    assert timestamp(peer.heard.get(timeout=30)) == clock.ms + ahead_ms[0]
    assert reply.signed_ms == clock.ms
    connection.close()


def test_a_key_that_cannot_be_used_any_more_sends_nothing_though_it_had_signed_ahead(
    peer: Peer, keys: KeySource, tmp_path: Path
) -> None:
    connection = connect(peer, keys)
    connection.warm()
    connection.sign_ahead("POST", CREATE.path)
    (tmp_path / "key.pem").unlink()

    reply = connection.exchange(CREATE)

    assert (reply.left, reply.trouble) == (False, "key_unusable")
    connection.close()
