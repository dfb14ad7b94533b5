"""CURVE keys, by which machines know each other over TCP: their files, and who is let in. docs/remote.md.

A key is 40 characters of Z85. Files are in the format of pyzmq's certificates, so that `zmq.auth` reads them.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog
import zmq
import zmq.utils.z85

from bus.process.echo import shown_path
from bus.process.locks import open_private_file, private_dir
from bus.process.programs import to_type
from bus.threads import Owner
from markets.errors import StartupError

log = structlog.get_logger()

KEY_FILE_MAX: Final = 4_096
CLIENTS_MAX: Final = 1_048_576
DOMAIN: Final = b"kalshi-bus-remote"
"""ZAP domain of the sockets that other machines connect to."""

REFUSED_MAX: Final = 1_000
"""How many refused clients are remembered."""

KEY_SETTING: Final = "KALSHI_BUS_CURVE_KEY"

_KEY: Final = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}", re.ASCII)
_LINE: Final = re.compile(r'\s*(server-key|public-key|secret-key)\s*=\s*"([^"]*)"\s*', re.ASCII)


class Pair(NamedTuple):
    """A public key and the secret one that belongs to it."""

    public: bytes
    secret: bytes

    @classmethod
    def make(cls) -> "Pair":
        """Return a new pair."""
        while True:
            pair = cls(*zmq.curve_keypair())
            if not pair.public.startswith(b"-"):  # on a command line it would be an option
                return pair


class ClientKeys(NamedTuple):
    """What a process needs to connect to another machine: its own pair, and the server's public key."""

    own: Pair
    server: bytes


def check_key(text: str, what: str) -> bytes:
    """Return a public key as libzmq takes it.

    Raises:
        StartupError: it is not one. The message does not repeat it, since it may be a secret.
    """
    if not _KEY.fullmatch(text):
        raise StartupError(
            f"{what}: got {len(text)} characters that are no key, "
            f"expected the 40 that `{to_type('keys list')}` shows"
        )
    return text.encode()


def check_name(name: str) -> str:
    """Return the name of a client.

    Raises:
        StartupError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise StartupError(f"name: got {name!r:.80}, expected 1 to 64 letters, digits, `.`, `-` and `_`")
    return name


def read_client_keys(path: Path) -> ClientKeys:
    """Return the keys in a client's file.

    Raises:
        StartupError: it is missing, open to others, or lacks these keys.
    """
    found = _read_keys(path, KEY_SETTING, ("server-key", "public-key", "secret-key"))
    return ClientKeys(Pair(found["public-key"], found["secret-key"]), found["server-key"])


def _read_keys(path: Path, setting: str, wanted: tuple[str, ...]) -> dict[str, bytes]:
    fd = open_private_file(path, setting)
    with os.fdopen(fd, "rb") as file:
        content = file.read(KEY_FILE_MAX + 1)
    lines = content.decode("ascii", "replace").splitlines() if len(content) <= KEY_FILE_MAX else []
    found = {match[1]: match[2] for match in map(_LINE.fullmatch, lines) if match}
    for name in wanted:
        if not _KEY.fullmatch(found.get(name, "")):
            raise StartupError(
                f"{shown_path(path)}: no {name} of 40 characters in it, expected a file that "
                f"`{to_type('keys make')}` has made"
            )
    keys = {name: found[name].encode() for name in wanted}
    if zmq.curve_public(keys["secret-key"]) != keys["public-key"]:
        raise StartupError(f"{shown_path(path)}: its public-key and its secret-key are of two pairs")
    return keys


def write_keys(path: Path, pair: Pair, server: bytes | None, *, anew: bool = False) -> None:
    """Write a key's file, mode 0600.

    Args:
        server: public key of the server, in a client's file.
        anew: replace an existing file.

    Raises:
        StartupError: there is one already, or the file cannot be written.
    """
    metadata = f'    server-key = "{server.decode()}"\n' if server is not None else ""
    text = (
        f'metadata\n{metadata}curve\n    public-key = "{pair.public.decode()}"\n'
        f'    secret-key = "{pair.secret.decode()}"\n'
    )
    _write(path, text, anew=anew)


def _write(path: Path, text: str, *, anew: bool) -> None:
    target = path.with_name(f"{path.name}.new") if anew else path
    try:
        if anew:
            target.unlink(missing_ok=True)
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if anew:
            target.replace(path)
    except FileExistsError:
        raise StartupError(f"{shown_path(path)}: is there already, and is not overwritten") from None
    except OSError as error:
        raise StartupError(f"{shown_path(path)}: cannot be written: {error.strerror}") from None


class Keyring:
    """The keys of a server: its own pair, and the public keys that are let in; a folder of mode 0700."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server_path = folder / "server.key"
        self.clients_path = folder / "clients"

    def server(self) -> Pair:
        """Return the server's pair.

        Raises:
            StartupError: there is none, or its file is open to others or malformed.
        """
        if not self.server_path.exists():
            raise StartupError(
                f"{shown_path(self.server_path)}: there is no key yet, and nothing is served without CURVE: "
                f"run `{to_type('keys make')} NAME` for the first who is to be let in"
            )
        found = _read_keys(self.server_path, "KALSHI_BUS_DATA_DIR", ("public-key", "secret-key"))
        return Pair(found["public-key"], found["secret-key"])

    def make_server(self, *, anew: bool = False) -> Pair:
        """Return the server's pair, made if there is none, or made again if `anew`."""
        private_dir(self.folder)
        if anew or not self.server_path.exists():
            write_keys(self.server_path, Pair.make(), None, anew=anew)
        return self.server()

    def clients(self) -> dict[bytes, str]:
        """Return who is let in: public key to name. A malformed line is logged and skipped.

        Raises:
            StartupError: the file cannot be read, or others could write it.
        """
        if not self.clients_path.exists():
            return {}
        fd = open_private_file(self.clients_path, "KALSHI_BUS_DATA_DIR")
        with os.fdopen(fd, "rb") as file:
            content = file.read(CLIENTS_MAX)
        found: dict[bytes, str] = {}
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            words = line.split()
            if not words or line.startswith("#"):
                continue
            if len(words) == 2 and _NAME.fullmatch(words[0]) and _KEY.fullmatch(words[1]):
                found[words[1].encode()] = words[0]
            else:
                problem = f"line {number} is no name and key; whoever it means is not let in"
                log.warning("curve.bad_line", file=shown_path(self.clients_path), problem=problem)
        return found

    def check_free(self, name: str) -> None:
        """Check that no key has this name.

        Raises:
            StartupError: one has it.
        """
        if name in self.clients().values():
            raise StartupError(f"name: {name} is the name of another key: revoke that, or take another name")

    def allow(self, name: str, public: bytes) -> None:
        """Let a key in, under a name.

        Raises:
            StartupError: the name belongs to another key.
        """
        private_dir(self.folder)
        clients = self.clients()
        if clients.get(public) != name:
            self.check_free(name)
        self._write_clients(clients | {public: name})

    def revoke(self, name: str) -> None:
        """Stop letting in the key of this name.

        Raises:
            StartupError: there is no such name.
        """
        clients = self.clients()
        if name not in clients.values():
            known = ", ".join(sorted(clients.values())) or "nobody"
            raise StartupError(f"name: got {name!r:.80}, expected one who is let in: {known}")
        self._write_clients({key: other for key, other in clients.items() if other != name})

    def _write_clients(self, clients: Mapping[bytes, str]) -> None:
        lines = [
            f"{name} {key.decode()}\n" for key, name in sorted(clients.items(), key=lambda item: item[1])
        ]
        _write(self.clients_path, "".join(lines), anew=True)


class Gate:
    """Decides who is let in, by what the keyring says at that moment. One thread asks it.

    Attributes:
        admitted, refused: handshakes so far.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._stamp: tuple[int, ...] | None = None
        self._clients: dict[bytes, str] = {}
        self._inside: set[bytes] = set()
        self.admitted = 0
        self.refused = 0

    def admit(self, public: bytes) -> str | None:
        """Return the name of the owner of this key, None if it is not let in."""
        self.look()
        name = self._clients.get(public)
        if name is None:
            self.refused += 1
        else:
            self.admitted += 1
            self._inside.add(public)
        return name

    def look(self) -> list[bytes]:
        """Read the keyring again if it has changed; return the keys that were let in and no longer are.

        While the keyring cannot be read nobody new is let in, and those already connected stay.
        """
        try:
            found = self._keyring.clients_path.stat()
            stamp: tuple[int, ...] | None = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode)
        except OSError:
            stamp = None
        if stamp is not None and stamp == self._stamp:
            return []
        self._stamp = stamp
        try:
            self._clients = self._keyring.clients()
        except StartupError as error:
            self._clients = {}
            log.warning("curve.keyring", problem=f"nobody is let in: {error}")
            return []
        out = [key for key in self._inside if key not in self._clients]
        self._inside.difference_update(out)
        return out


class Zap:
    """Answers libzmq, which asks at each handshake whether a key is let in (RFC 27, ZAP).

    One in a context, made before the sockets that it is for; it belongs to the thread that makes it.
    """

    def __init__(self, context: zmq.Context[Any], gate: Gate) -> None:
        self._owner = Owner("the socket that lets keys in")
        self._owner.take()
        self._gate = gate
        self._refused: dict[tuple[str, str], int] = {}
        self.socket: zmq.Socket[bytes] = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")

    def serve(self) -> None:
        """Answer what is asked now."""
        self._owner.check()
        try:
            version, request, domain, address, _id, mechanism, *credentials = self.socket.recv_multipart(
                zmq.NOBLOCK
            )
        except zmq.Again:
            return
        if domain != DOMAIN:
            # One of our own sockets asks about a peer on this machine, as it would without us.
            self.socket.send_multipart([version, request, b"200", b"OK", b"", b""])
            return
        name = None
        key = b""
        if mechanism == b"CURVE" and len(credentials) == 1:
            key = zmq.utils.z85.encode(credentials[0])
            name = self._gate.admit(key)
        said = {"address": address.decode("ascii", "replace"), "key": key.decode()}
        if name is None:
            self._say_refused(said["address"], said["key"])
            self.socket.send_multipart([version, request, b"400", b"unknown key", b"", b""])
        else:
            log.info("curve.admitted", name=name, **said)
            self.socket.send_multipart([version, request, b"200", b"OK", name.encode(), b""])

    def _say_refused(self, address: str, key: str) -> None:
        # A refused client keeps trying: it is logged the first time, the second, the fourth, ...
        if len(self._refused) >= REFUSED_MAX:
            self._refused.clear()
        times = self._refused[address, key] = self._refused.get((address, key), 0) + 1
        if times & (times - 1) == 0:
            problem = "a key that is not known here, or was revoked"
            log.warning("curve.refused", problem=problem, address=address, key=key, times=times)

    def close(self) -> None:
        """Close the socket. After that nobody is let in."""
        self._owner.check()
        self.socket.close()


class Handshakes:
    """Reports what becomes of a socket's handshakes with another machine; belongs to the socket's thread."""

    def __init__(self, socket: zmq.Socket[bytes], endpoint: str) -> None:
        self._endpoint = endpoint
        self._socket = socket
        self._monitor: zmq.Socket[bytes] = socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_FAILED_AUTH
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            | zmq.EVENT_HANDSHAKE_SUCCEEDED
        )
        self._monitor.linger = 0

    def trouble(self) -> str | None:
        """Return why the last handshake failed, if that is news."""
        problem = None
        while True:
            try:
                event, _address = self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return problem
            kind = int.from_bytes(event[:2], "little")
            if kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                problem = None
            elif kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                problem = f"{self._endpoint}: our key is not known there, or was revoked"
            else:
                problem = (
                    f"{self._endpoint}: no handshake: another server's key is in our key file, or what "
                    "listens there is no forwarder"
                )

    def close(self) -> None:
        """Stop watching them."""
        self._socket.disable_monitor()
        self._monitor.close()
