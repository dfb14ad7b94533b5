"""Certificates that tests make for themselves."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

PASSPHRASE = b"correct horse"


def make_certificate(
    folder: Path,
    name: str = "localhost",
    address: str = "127.0.0.1",
    *,
    days: float = 60,
    locked: bool = False,
) -> tuple[Path, Path]:
    """Make a key and a certificate of `name`; return their paths, certificate first.

    Args:
        days: until its end. locked: whether the key takes a passphrase.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(address))])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=90))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "tls.pem", folder / "tls.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    secret.touch(0o600)
    hidden = BestAvailableEncryption(PASSPHRASE) if locked else NoEncryption()
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    return certificate, secret


def trusting(certificate: Path) -> ssl.SSLContext:
    """Return how a client looks at things that trusts this certificate."""
    return ssl.create_default_context(cafile=str(certificate))
