"""Signatures of requests, and the key files they come from.

Three headers on every request; the signed text is ``timestamp_ms + METHOD + path``, the path from the host's
root without its query. RSA keys sign PSS with SHA-256, MGF1-SHA-256 and a salt of digest length; Ed25519 keys
sign the text itself.

Source: Kalshi API reference, API keys; changelog of 24 September 2026 (Ed25519).
"""

import base64
import os
import re
import shlex
import sys
import threading
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
)

from bus.process.lifecycle import Stop
from bus.process.locks import open_private_file
from bus.process.logs import hide
from bus.process.settings import Settings, variable_of
from bus.process.settings_table import NAME_MAX
from markets.errors import StartupError

KEY_WAIT_S: Final = 0.25

PrivateKey = RSAPrivateKey | Ed25519PrivateKey

_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
_KEY_FILE_MAX: Final = 65_536
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_FROM_OPENSSH: Final = (
    "import sys; from cryptography.hazmat.primitives.serialization import *; "
    "key = load_ssh_private_key(sys.stdin.buffer.read(), None); "
    "sys.stdout.buffer.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))"
)


def pre_sign_text(timestamp_ms: int, method: str, path: str) -> bytes:
    """Return the text that is signed; `path` starts at the host's root and has no query."""
    assert re.fullmatch(r"/[^?#]*", path), path
    return f"{timestamp_ms}{method.upper()}{path}".encode()


class ApiKey:
    """A key and its id. Printed and logged by its kind only."""

    __slots__ = ("_private", "key_id")

    def __init__(self, key_id: str, private: PrivateKey) -> None:
        hide(key_id)
        self.key_id = key_id
        self._private = private

    def headers(self, method: str, path: str, now_ms: int) -> dict[str, str]:
        """Return the three headers that sign one request made now."""
        text = pre_sign_text(now_ms, method, path)
        if isinstance(self._private, RSAPrivateKey):
            signature = self._private.sign(text, _PSS, hashes.SHA256())
        else:
            signature = self._private.sign(text)
        return {
            "KALSHI-ACCESS-KEY": self.key_id,
            "KALSHI-ACCESS-TIMESTAMP": str(now_ms),
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
        }

    def __repr__(self) -> str:
        return f"ApiKey({type(self._private).__name__.removesuffix('PrivateKey').lstrip('_')}, hidden)"


def load_private_key(path: Path) -> PrivateKey:
    """Read a private key that only its owner can read.

    Raises:
        StartupError: the file is missing, a link, not ours, readable by others or not a usable key; the
            message names the path and the remedy.
    """
    with os.fdopen(open_private_file(path, variable_of("private_key_path")), "rb") as file:
        pem = file.read(_KEY_FILE_MAX)
    try:
        key = load_pem_private_key(pem, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise StartupError(f"{path}: {_why_no_key(pem, path)}") from None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        found = type(key).__name__.lstrip("_").removesuffix("PrivateKey")
        raise StartupError(
            f"{path}: got a key of kind {found}, expected an RSA or Ed25519 key: make one at Kalshi"
        )
    return key


def _why_no_key(content: bytes, path: Path) -> str:
    """Say what a key file contains instead of a private key in PEM form, and the command that converts it.

    Kalshi shows a private key only once; it cannot be downloaded again.
    """
    old, new = (shlex.quote(str(name)) for name in (path, path.with_name(f"{path.stem}-converted.pem")))
    rsa = f"(umask 077; openssl pkey -in {old} -out {new})"
    if not content.strip():
        return "not a private key in PEM form, the file is empty: put all of the key there"
    if len(content) == _KEY_FILE_MAX:
        return f"more than {_KEY_FILE_MAX - 1} bytes, expected a private key in PEM form and nothing else"
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return (
            "a text in UTF-16, expected a private key in PEM form: "
            f"(umask 077; iconv -f UTF-16 -t UTF-8 {old} > {new})"
        )
    if rb"\n" in content and b"-----BEGIN" in content:
        return (
            "its lines end in the two characters \\n, expected line ends: "
            f"(umask 077; printf '%b' \"$(cat {old})\" > {new})"
        )
    if b"-----BEGIN OPENSSH PRIVATE KEY-----" in content:
        command = f"cp {old} {new}; ssh-keygen -p -m PEM -N '' -f {new}"
        if b"ssh-ed25519" in _unarmoured(content):  # ssh-keygen cannot write these as PEM
            command = f"{shlex.quote(sys.executable)} -c {shlex.quote(_FROM_OPENSSH)} < {old} > {new}"
        return f"a private key in OpenSSH's form, expected PEM: (umask 077; {command})"
    if b"ENCRYPTED" in content:
        return f"the key is encrypted, expected one without a passphrase: {rsa}"
    if b"PUBLIC KEY" in content or content.startswith((b"ssh-rsa ", b"ssh-ed25519 ")):
        return "a public key, expected the private one of the pair, which stayed where the pair was made"
    if b"-----BEGIN CERTIFICATE" in content:
        return "a certificate or a request for one, expected the private key that belongs to it"
    if content[:1] == b"\x30":  # a SEQUENCE of ASN.1: DER, or PKCS#12
        if _is_private(content):
            return (
                "a private key in DER form, expected PEM: "
                f"(umask 077; openssl pkey -inform DER -in {old} -out {new})"
            )
        if _is_public(content):
            return "a public key in DER form, expected the private one of the pair"
        return (
            "neither PEM nor a private key in plain DER form, expected PEM; if it is PKCS#12: "
            f"(umask 077; openssl pkcs12 -in {old} -nocerts -nodes -out {new})"
        )
    if b"-----BEGIN" in content:
        return (
            "not a private key in PEM form but a damaged one, expected all of it, from its line BEGIN to "
            f"its line END: copy it again; openssl pkey -noout -in {old} says if it is whole"
        )
    if _is_private(_unarmoured(content)):
        return (
            "a private key without its first and last line, expected PEM: "
            f"(umask 077; base64 -d {old} | openssl pkey -inform DER -out {new})"
        )
    return (
        "not a private key in PEM form: expected a text from a line BEGIN to a line END, "
        "or make a new key at Kalshi, which shows it once"
    )


def _unarmoured(content: bytes) -> bytes:
    """Return what the lines of base64 in a file decode to, b"" if to nothing."""
    try:
        return base64.b64decode(
            b"".join(line for line in map(bytes.strip, content.splitlines()) if _BASE64.fullmatch(line))
        )
    except ValueError:
        return b""


def _is_private(der: bytes) -> bool:
    try:
        load_der_private_key(der, password=None)
    except TypeError:  # encrypted
        return True
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def _is_public(der: bytes) -> bool:
    try:
        load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


_Stamp = tuple[tuple[int, int, int, int] | None, ...]


class KeySource:
    """The configured key, reread when its files change and after it was refused. Any thread.

    Args:
        private_key_path: None if no key is configured: requests then go out unsigned.
        key_id: its id, or
        key_id_path: the file that contains it (the simulator's).
    """

    def __init__(self, private_key_path: Path | None, key_id: str | None, key_id_path: Path | None) -> None:
        self._private_key_path = private_key_path
        self._key_id = key_id
        self._key_id_path = key_id_path
        self._lock = threading.Lock()
        self._stamp: _Stamp | None = None
        self._key: ApiKey | None = None

    @classmethod
    def of(cls, settings: Settings) -> "KeySource":
        """Return the source that the settings configure.

        Raises:
            StartupError: the key cannot be used. On env `sim` a missing one is waited for instead, since the
                simulator writes it when it starts.
        """
        simulated = settings.env == "sim"
        source = cls(
            settings.private_key_path,
            settings.api_key_id,
            settings.sim_key_id_path if simulated and settings.api_key_id is None else None,
        )
        if source.configured and not (simulated and source.missing()):
            source.current()
        return source

    @property
    def configured(self) -> bool:
        """Whether requests are to be signed."""
        return self._private_key_path is not None

    def missing(self) -> bool:
        """Tell whether a file of the configured key does not exist (or is still empty)."""
        return self.configured and any(stamp is None or not stamp[3] for stamp in self._look())

    def wait(self, stop: Stop, longest_s: float | None = None) -> bool:
        """Wait until the files of the configured key exist; return False if they do not come.

        That is, if the stop, or the end of `longest_s` if given, comes first.
        """
        waited_s = 0.0
        while self.missing():
            if stop.wait(KEY_WAIT_S) or (longest_s is not None and waited_s >= longest_s):
                return False
            waited_s += KEY_WAIT_S
        return True

    def current(self) -> ApiKey | None:
        """Return the key as it is on disk now, or None if none is configured.

        Raises:
            StartupError: it cannot be used; requests must not go out unsigned in that case.
        """
        if self._private_key_path is None:
            return None
        with self._lock:
            stamp = self._look()
            if self._key is None or stamp != self._stamp:
                self._key = None
                private = load_private_key(self._private_key_path)
                self._key, self._stamp = ApiKey(self._read_id(), private), stamp
            return self._key

    def refused(self) -> None:
        """Reread the files for the next request, whatever their time stamps say."""
        with self._lock:
            self._key = None

    def _read_id(self) -> str:
        if self._key_id_path is None:
            assert self._key_id is not None, "Settings.load demands id and key together"
            return self._key_id
        try:
            key_id = self._key_id_path.read_text("ascii").strip()
        except OSError as error:
            raise StartupError(
                f"{self._key_id_path}: cannot read the id of the key: {error.strerror}"
            ) from None
        except UnicodeDecodeError:
            raise StartupError(f"{self._key_id_path}: the id of a key is ASCII, this is not") from None
        if not key_id or len(key_id) > NAME_MAX or not key_id.isprintable() or " " in key_id:
            raise StartupError(f"{self._key_id_path}: got no id of a key, expected one line")
        return key_id

    def _look(self) -> _Stamp:
        return tuple(_stamp(path) for path in (self._private_key_path, self._key_id_path) if path is not None)


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
