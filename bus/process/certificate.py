"""The certificate by which our servers speak TLS: read, proved, and read again when it has been renewed."""

import os
import ssl
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from bus.clock import Clock
from markets.errors import StartupError

from .echo import shown_path
from .locks import open_private_file
from .settings import Settings, variable_of

log = structlog.get_logger()

FILE_MAX: Final = 1_048_576
SOON_S: Final = 14 * 86_400
"""A certificate that ends sooner should have been renewed by now."""

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h)
_ROUNDS: Final = 10

Stamp = tuple[tuple[int, ...], ...]


class Files(NamedTuple):
    """Where certificate and key are."""

    certificate: Path
    key: Path


class Certificate(NamedTuple):
    """What servers show.

    Attributes:
        names: whom it is for. until_s: its end, seconds since 1970.
    """

    context: ssl.SSLContext
    names: tuple[str, ...]
    until_s: int

    def warning(self, clock: Clock) -> str | None:
        """Say that it has ended, or soon will; None if neither."""
        left_s = self.until_s - clock.now_ms() // 1000
        if left_s < 0:
            return f"ended {-left_s // 86_400} days ago: clients refuse it"
        return f"ends in {left_s // 86_400} days" if left_s < SOON_S else None


def files_of(settings: Settings) -> Files | None:
    """Return where certificate and key are; None if TLS is off."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Files(settings.tls_certificate, settings.tls_key)


def read_certificate(files: Files) -> Certificate:
    """Read certificate and key, and prove that a client would get along with them.

    Raises:
        StartupError: one of the files is missing, unreadable or not what it should be, the key is open to
            others or of another certificate; the message names the file.
    """
    text = _certificate_text(files.certificate)
    os.close(open_private_file(files.key, variable_of("tls_key")))
    viewer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    viewer.check_hostname = False
    # Its time is judged by whoever asks for it, and nobody need have signed it.
    viewer.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    shown = shown_path(files.certificate)
    try:
        viewer.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise StartupError(f"{shown}: no certificate in PEM form in it") from None

    def passphrase() -> str:
        raise StartupError(f"{files.key}: asks for a passphrase, expected a key without one")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    # A client that reads in one thread and writes in another, as that of `websockets` does, would read the
    # tickets while it writes its request, which CPython 3.11 does not guard: now and then it waits for ever.
    context.num_tickets = 0
    certificate, key = files
    try:
        context.load_cert_chain(certificate, key, passphrase)
        seen = _shown_by(context, viewer)
    except ssl.SSLCertVerificationError as error:
        raise StartupError(f"{shown}: clients would refuse it: {error.verify_message}") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise StartupError(f"{key}: not the key of the certificate in {certificate}") from None
        raise StartupError(
            f"{key}: no private key in PEM form in it that goes with {certificate} ({error.reason or error})"
        ) from None
    except OSError as error:
        raise StartupError(f"{shown}, {key}: cannot be read: {error.strerror}") from None
    names = tuple(str(name) for _, name in seen.get("subjectAltName", ()))
    return Certificate(context, names, int(ssl.cert_time_to_seconds(seen["notAfter"])))


class Renewed:
    """The certificate as it is on disk now, read again whenever its files change.

    While these cannot be used, the last good one stays.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._read = _stamp(files)
        self._failed: Stamp | None = None
        self.now = read_certificate(files)

    def look(self) -> bool:
        """Read the files if they have changed; return whether there is another certificate now."""
        stamp = _stamp(self._files)
        if stamp == self._read:
            return False
        try:
            self.now = read_certificate(self._files)
        except (StartupError, OSError, ValueError) as error:
            # Of two files one is written first: what is said is what is still so at the next look.
            if stamp == self._failed:
                self._read = stamp
                log.warning("tls.not_renewed", error=str(error))
            self._failed = stamp
            return False
        self._read = stamp
        return True


def _certificate_text(path: Path) -> str:
    said = shown_path(path)
    try:
        # Not blocking: a FIFO in its place would be waited for.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StartupError(f"{said}: not a regular file")
            content = file.read(FILE_MAX + 1)
    except OSError as error:
        remedy = f"put it there or set {variable_of('tls_certificate')}"
        raise StartupError(f"{said}: cannot be read: {error.strerror}: {remedy}") from None
    if len(content) > FILE_MAX:
        raise StartupError(f"{said}: more than {FILE_MAX} bytes, expected a certificate in PEM form")
    return content.decode("ascii", "replace").replace("\N{REPLACEMENT CHARACTER}", "?")


def _shown_by(context: ssl.SSLContext, viewer: ssl.SSLContext) -> dict[str, Any]:
    """Return what a client is shown by a server with this context."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = viewer.wrap_bio(back, there)
    server = context.wrap_bio(there, back, server_side=True)
    for _ in range(_ROUNDS):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client.getpeercert() or {}


def _stamp(files: Files) -> Stamp:
    """Return what is different once a file has been exchanged, written to or made readable."""
    found: list[tuple[int, ...]] = []
    for path in files:
        try:
            seen = path.stat()
        except OSError:
            found.append(())
            continue
        found.append((seen.st_ino, seen.st_mtime_ns, seen.st_size, seen.st_mode, seen.st_uid))
    return tuple(found)
