"""Request signatures, the exchange's side, and the key pairs it gives its users.

Rules and error bodies: contract section 2 (recorded June 2026; Ed25519 since 24 Sep 2026).
"""

import base64
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from markets.errors import StartupError

KEY, TIMESTAMP, SIGNATURE = "kalshi-access-key", "kalshi-access-timestamp", "kalshi-access-signature"
WINDOW_MS: Final = 10_000
"""Signatures further off than this are refused: 5 s pass and 30 s do not; the exact bound is unknown."""

PRIVATE_KEY_FILE: Final = "sim_private_key.pem"
KEY_ID_FILE: Final = "sim_key_id"


@dataclass(frozen=True, slots=True)
class SignatureRefused:
    """Why a request is not authenticated: the code and details of its 401."""

    code: str
    message: str
    details: str | None = None


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The key pair of one of the simulator's accounts, which count from 1, as loaded at the start."""

    key_id: str
    public_key: RSAPublicKey | Ed25519PublicKey
    account: int = 1


def present(headers: Mapping[str, str]) -> bool:
    """Return whether any of the three authentication headers (lower-case names) is there."""
    return any(name in headers for name in (KEY, TIMESTAMP, SIGNATURE))


def check(
    keys: Mapping[str, KeyPair], method: str, path: str, headers: Mapping[str, str], now_ms: int
) -> SignatureRefused | None:
    """Verify a request's signature over timestamp + METHOD + path without query; None if it is valid."""
    signature = headers.get(SIGNATURE)
    if not signature:
        return SignatureRefused("signature_is_missing_from_headers", "signature is missing from headers")
    timestamp = headers.get(TIMESTAMP, "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(int(timestamp[:20]) - now_ms) > WINDOW_MS:
        return SignatureRefused("header_timestamp_expired", "header timestamp expired")
    pair = keys.get(headers.get(KEY, ""))
    if pair is None:
        return SignatureRefused("authentication_error", "authentication_error", "NOT_FOUND")
    text = f"{timestamp}{method.upper()}{path}".encode()
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(pair.public_key, Ed25519PublicKey):
            pair.public_key.verify(raw, text)
        else:
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.AUTO)
            pair.public_key.verify(raw, text, pss, hashes.SHA256())
    except (InvalidSignature, ValueError):
        return SignatureRefused("authentication_error", "authentication_error", "INCORRECT_API_KEY_SIGNATURE")
    return None


def load_or_create(directory: Path, accounts: int = 1) -> dict[str, KeyPair]:
    """Return the key pairs in `directory` by key id; missing ones are made, readable by the owner alone.

    The first account's files are `sim_private_key.pem` and `sim_key_id`; those of the second end in `_2`.

    Raises:
        StartupError: the files cannot be read or written, or hold no usable key.
    """
    pairs = [_pair(directory, account) for account in range(1, accounts + 1)]
    return {pair.key_id: pair for pair in pairs}


def _pair(directory: Path, account: int) -> KeyPair:
    suffix = "" if account == 1 else f"_{account}"
    key_path = directory / PRIVATE_KEY_FILE.replace(".", f"{suffix}.")
    id_path = directory / f"{KEY_ID_FILE}{suffix}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        pem = _read(key_path)
        if pem is None:
            key: object = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            assert isinstance(key, RSAPrivateKey)
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            _write(key_path, pem)
        else:
            key = serialization.load_pem_private_key(pem, password=None)
        key_id = (_read(id_path) or b"").decode().strip()
        if not key_id:
            key_id = str(UUID(bytes=secrets.token_bytes(16), version=4))
            _write(id_path, f"{key_id}\n".encode())
        UUID(key_id)
    except OSError as error:
        raise StartupError(
            f"{error.filename}: {error.strerror}; --keys must be a directory of yours"
        ) from error
    except (ValueError, TypeError) as error:
        raise StartupError(
            f"{directory}: {id_path.name} or {key_path.name} is unreadable ({error}); delete both"
        ) from error
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise StartupError(f"{key_path}: expected an RSA or Ed25519 private key")
    return KeyPair(key_id, key.public_key(), account)


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _write(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 atomically: a reader sees the old one or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(data)
    temporary.replace(path)
