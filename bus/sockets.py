"""ZeroMQ sockets with the settings that all of ours need, each against a known pitfall.

* a ZAP domain: without one libzmq accepts ZMTP 1.0 peers, so raw bytes or a browser's POST become messages,
* LINGER 0: a dead peer must not hold up the exit,
* heartbeats: they find half-open connections, and must be set before connect or bind,
* MAXMSGSIZE: a peer that sends more is dropped instead of filling memory,
* high-water marks: a slow subscriber loses messages (and knows it by their numbers) instead of costing the
  publisher its memory.
"""

import errno
import os
import socket as socketlib
import stat
from pathlib import Path
from typing import Any, Final

import zmq

from bus.jetstream.stored import is_remote as is_jetstream
from bus.process.echo import shown
from bus.process.locks import check_port
from bus.process.programs import to_type
from bus.process.settings_table import tcp_port
from markets.errors import StartupError

from .curve import KEY_SETTING, ClientKeys, read_client_keys

SEND_HWM: Final = 32_768
RECEIVE_HWM: Final = 32_768
"""Messages queued for one peer: more than two commits in which every market changed; 3 s at 10,000 a second.

At the mean size of a message in such a commit, 6 kB, that is 200 MB for a peer that has stopped reading.
"""

MAX_QUESTION: Final = 1_048_576
MAX_FEED: Final = 1_048_576
MAX_ANSWER: Final = 64 * 1_048_576
RECONNECT_MAX_MS: Final = 200
"""How soon a process that comes back is found. Trying costs next to nothing if both are on one machine."""

QUESTIONS_WAITING: Final = 64
ANSWERS_WAITING: Final = 64
"""How many questions of one peer wait here, the rest at the peer; and how many answers that it does not
read."""

HEARTBEAT_IVL_MS: Final = 1_000
HEARTBEAT_TIMEOUT_MS: Final = 5_000
_IN_USE: Final = "is in use by another process"


class _Context(zmq.Context[Any]):
    keys: ClientKeys | None = None


def make_context(curve_key: Path | None = None) -> zmq.Context[Any]:
    """Return the ZeroMQ context of a process, to be terminated at its end. Not every package may import zmq.

    Args:
        curve_key: file of the key with which its sockets connect to ``tcp://`` endpoints (docs/remote.md).

    Raises:
        StartupError: there is no usable key.
    """
    keys = None if curve_key is None else read_client_keys(curve_key)
    context = _Context()
    context.keys = keys
    return context


def keys_of(context: zmq.Context[Any]) -> ClientKeys | None:
    """Return the keys with which the sockets of a context connect to ``tcp://`` endpoints."""
    return context.keys if isinstance(context, _Context) else None


def check_connect(context: zmq.Context[Any], endpoint: str) -> None:
    """Check that a socket of this context may connect there.

    Raises:
        StartupError: it is on another machine and the context has no keys; or it is a JetStream, not a
            socket.
    """
    if is_jetstream(endpoint):
        raise StartupError(
            "the feed is in a JetStream: replicas follow it there, and nothing else does (docs/bridge.md)"
        )
    if endpoint.startswith("tcp://") and keys_of(context) is None and tcp_port(endpoint) is None:
        raise StartupError(
            f"{endpoint}: is on another machine, which is reached only with CURVE: set {KEY_SETTING} to the "
            f"key that `{to_type('keys make')}` made there"
        )


def connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Connect; over TCP, with CURVE if the socket's context has keys.

    Raises:
        StartupError: as `check_connect`.
    """
    if not endpoint.startswith("ipc://"):
        check_connect(socket.context, endpoint)
        if endpoint.startswith("tcp://") and (keys := keys_of(socket.context)) is not None:
            socket.curve_publickey, socket.curve_secretkey = keys.own
            socket.curve_serverkey = keys.server
    socket.connect(endpoint)


def make(context: zmq.Context[Any], kind: int, max_bytes: int) -> zmq.Socket[bytes]:
    """Return an unconnected socket of some type, such as zmq.SUB, with our settings."""
    socket: zmq.Socket[bytes] = context.socket(kind)
    socket.linger = 0
    socket.setsockopt(zmq.ZAP_DOMAIN, b"kalshi-bus")
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_IVL_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 5_000)
    socket.setsockopt(zmq.SNDHWM, SEND_HWM)
    socket.setsockopt(zmq.RCVHWM, RECEIVE_HWM)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    return socket


def bind(socket: zmq.Socket[bytes], name: str, endpoint: str) -> str:
    """Bind, and return the address really bound.

    Raises:
        StartupError: the endpoint is taken or cannot be used, or lets other machines in without CURVE; names
            the setting and what to do.
    """
    if not socket.curve_server:
        _refuse_open_door(name, endpoint)
    if endpoint.startswith("ipc://"):
        _refuse_foreign_file(name, endpoint.removeprefix("ipc://"))
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        why = _IN_USE if error.errno == errno.EADDRINUSE else f"cannot be bound ({error})"
        raise StartupError(f"{name}: {endpoint} {why}; stop it or set KALSHI_BUS_{name.upper()}") from None
    if endpoint.startswith("ipc://"):
        Path(endpoint.removeprefix("ipc://")).chmod(0o600)
    last: bytes = socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
    return last.rstrip(b"\x00").decode()


def check_endpoint(name: str, endpoint: str) -> None:
    """Check that `bind` could take this endpoint now, without binding it.

    Raises:
        StartupError: as `bind`.
    """
    _refuse_open_door(name, endpoint)
    if endpoint.startswith("ipc://"):
        _refuse_foreign_file(name, endpoint.removeprefix("ipc://"))
        return
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    check_port(int(port), f"KALSHI_BUS_{name.upper()}", host)


def _refuse_open_door(name: str, endpoint: str) -> None:
    if not endpoint.startswith(("ipc://", "inproc://", "tcp://127.")):
        raise StartupError(
            f"KALSHI_BUS_{name.upper()}: got {shown(endpoint)}, expected ipc:// or loopback where it is "
            f"served: other machines are let in by `{to_type('forward')}` alone, with CURVE "
            "(docs/remote.md)"
        )


def _refuse_foreign_file(name: str, path: str) -> None:
    # ZeroMQ removes whatever file stands at an ipc path, even another process's socket: its early subscribers
    # would stay with it, later ones would come to us. Only a socket left over from a killed process may go.
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartupError(
            f"{name}: {path} exists and is not a socket; remove it or set KALSHI_BUS_{name.upper()}"
        )
    with socketlib.socket(socketlib.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError:
            pass  # somebody is there, but slow
    raise StartupError(f"{name}: ipc://{path} {_IN_USE}; stop it or set KALSHI_BUS_{name.upper()}")
