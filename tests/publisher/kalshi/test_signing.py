"""Signatures verify with the public key; a key file that others could read or swap is refused."""

import base64
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from bus.process.settings import Settings
from markets.errors import StartupError
from publisher.kalshi.signing import ApiKey, KeySource, PrivateKey, load_private_key, pre_sign_text
from tests.publisher.exchange import KEY_ID, PSS, write_key

PATH = "/trade-api/v2/portfolio/balance"
NOW_MS = 1_790_000_000_123
RSA_KEY = rsa.generate_private_key(65537, 2048)


def pem(key: PrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def store(path: Path, body: bytes, mode: int = 0o600) -> Path:
    path.touch(0o600)
    path.write_bytes(body)
    path.chmod(mode)
    return path


def test_signed_text_is_timestamp_method_and_path() -> None:
    assert pre_sign_text(NOW_MS, "get", PATH) == b"1790000000123GET/trade-api/v2/portfolio/balance"


def test_signed_text_has_no_query() -> None:
    with pytest.raises(AssertionError):
        pre_sign_text(NOW_MS, "GET", "/trade-api/v2/markets?limit=1")


def test_rsa_signature_verifies_with_a_salt_of_digest_length() -> None:
    headers = ApiKey(KEY_ID, RSA_KEY).headers("GET", PATH, NOW_MS)

    signature = base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"], validate=True)
    RSA_KEY.public_key().verify(signature, pre_sign_text(NOW_MS, "GET", PATH), PSS, hashes.SHA256())
    with pytest.raises(InvalidSignature):
        RSA_KEY.public_key().verify(signature, pre_sign_text(NOW_MS, "POST", PATH), PSS, hashes.SHA256())
    assert headers["KALSHI-ACCESS-KEY"] == KEY_ID
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == "1790000000123"


def test_ed25519_signature_verifies() -> None:
    key = ed25519.Ed25519PrivateKey.generate()

    headers = ApiKey(KEY_ID, key).headers("GET", PATH, NOW_MS)

    signature = base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"], validate=True)
    key.public_key().verify(signature, pre_sign_text(NOW_MS, "GET", PATH))


@pytest.mark.parametrize("key", [RSA_KEY, ed25519.Ed25519PrivateKey.generate()], ids=["rsa", "ed25519"])
def test_key_file_of_mode_0600_is_read(tmp_path: Path, key: PrivateKey) -> None:
    loaded = load_private_key(store(tmp_path / "key.pem", pem(key)))

    assert pem(loaded) == pem(key)


def test_key_prints_as_its_kind_only() -> None:
    shown = f"{ApiKey(KEY_ID, RSA_KEY)!r} {ApiKey(KEY_ID, RSA_KEY)}"

    assert KEY_ID not in shown
    assert "hidden" in shown


@pytest.mark.parametrize(
    ("body", "mode", "says"),
    [
        (pem(RSA_KEY), 0o644, "mode 0644 is looser than 0600: run chmod 600"),
        (pem(RSA_KEY), 0o640, "mode 0640"),
        (pem(RSA_KEY), 0o700, "mode 0700"),
        (b"garbage", 0o600, "not a private key in PEM form"),
        (b"", 0o600, "not a private key in PEM form"),
        (pem(RSA_KEY)[:-100], 0o600, "not a private key in PEM form"),
        (pem(RSA_KEY, b"secret"), 0o600, "encrypted"),
        (pem(ec.generate_private_key(ec.SECP256R1())), 0o600, "expected an RSA or Ed25519 key"),
    ],
    ids=["world", "group", "executable", "garbage", "empty", "cut", "encrypted", "curve"],
)
def test_unusable_key_file_is_refused_by_path_and_remedy(
    tmp_path: Path, body: bytes, mode: int, says: str
) -> None:
    path = store(tmp_path / "key.pem", body, mode)

    with pytest.raises(StartupError) as refusal:
        load_private_key(path)

    assert str(path) in str(refusal.value)
    assert says in str(refusal.value)


ED25519 = ed25519.Ed25519PrivateKey.generate()
_DER, _PEM, _RAW = serialization.Encoding.DER, serialization.Encoding.PEM, serialization.NoEncryption()
_SSH, _SPKI = serialization.Encoding.OpenSSH, serialization.PublicFormat.SubjectPublicKeyInfo
_PKCS8, _OPENSSH = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.OpenSSH


@pytest.mark.parametrize(
    ("body", "key", "says"),
    [
        (pem(RSA_KEY).replace(b"\n", rb"\n"), RSA_KEY, r"the two characters \n"),
        (pem(RSA_KEY).strip().replace(b"\n", b"\r\\n"), RSA_KEY, r"the two characters \n"),
        (RSA_KEY.private_bytes(_PEM, _OPENSSH, _RAW), RSA_KEY, "OpenSSH"),
        (ED25519.private_bytes(_PEM, _OPENSSH, _RAW), ED25519, "OpenSSH"),
        (RSA_KEY.private_bytes(_DER, _PKCS8, _RAW), RSA_KEY, "DER"),
        (ED25519.private_bytes(_DER, _PKCS8, _RAW), ED25519, "DER"),
        (b"".join(pem(RSA_KEY).splitlines(keepends=True)[1:-1]), RSA_KEY, "without its first and last line"),
        (pem(RSA_KEY).decode().encode("utf-16"), RSA_KEY, "UTF-16"),
    ],
    ids=[
        "literal",
        "literal-crlf",
        "openssh-rsa",
        "openssh-ed25519",
        "der-rsa",
        "der-ed25519",
        "body",
        "utf16",
    ],
)
def test_a_key_in_another_form_is_named_with_the_command_that_converts_it(
    tmp_path: Path, body: bytes, key: PrivateKey, says: str
) -> None:
    path = store(tmp_path / "my key", body)

    with pytest.raises(StartupError) as refusal:
        load_private_key(path)

    said = str(refusal.value)
    assert says in said
    command = said[said.index("(umask 077; ") :]
    if shutil.which(command.split()[2]) is None:
        pytest.skip(f"{command.split()[2]} is not installed")
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    assert pem(load_private_key(tmp_path / "my key-converted.pem")) == pem(key)
    assert path.read_bytes() == body, "what the user has stays as it is"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (RSA_KEY.public_key().public_bytes(_PEM, _SPKI), "a public key"),
        (RSA_KEY.public_key().public_bytes(_DER, _SPKI), "a public key"),
        (ED25519.public_key().public_bytes(_SSH, serialization.PublicFormat.OpenSSH), "a public key"),
        (RSA_KEY.private_bytes(_PEM, _PKCS8, serialization.BestAvailableEncryption(b"x")), "is encrypted"),
        (RSA_KEY.private_bytes(_PEM, serialization.PrivateFormat.TraditionalOpenSSL,
                               serialization.BestAvailableEncryption(b"x")), "is encrypted"),
        (b"-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n", "a certificate"),
        (b"x" * 70_000, "more than 65535 bytes"),
    ],
    ids=["public", "public-der", "public-ssh", "encrypted", "encrypted-traditional", "certificate", "long"],
)  # fmt: skip
def test_what_is_no_private_key_is_named(tmp_path: Path, body: bytes, says: str) -> None:
    with pytest.raises(StartupError, match=says) as refusal:
        load_private_key(store(tmp_path / "key.pem", body))

    assert "download" not in str(refusal.value), "Kalshi shows a private key once"


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda body: b"-----BEGIN " + body))
def test_any_bytes_are_refused_and_none_of_them_repeated(body: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = store(Path(folder) / "key.pem", body)
        with pytest.raises(StartupError) as refusal:
            load_private_key(path)
    assert len(body) < 20 or body.decode("latin-1") not in str(refusal.value)


def test_missing_key_file_link_and_directory_are_refused(tmp_path: Path) -> None:
    target = store(tmp_path / "key.pem", pem(RSA_KEY))
    link = tmp_path / "link.pem"
    link.symlink_to(target)
    os.mkfifo(tmp_path / "fifo", 0o600)

    for path, says in (
        (tmp_path / "none.pem", "No such file"),
        (link, "symbolic link"),
        (tmp_path, "not a regular file"),
        (tmp_path / "fifo", "not a regular file"),
    ):
        with pytest.raises(StartupError, match=says):
            load_private_key(path)


def source(directory: Path) -> KeySource:
    return KeySource(directory / "sim_private_key.pem", None, directory / "sim_key_id")


def test_changed_key_file_is_read_again(tmp_path: Path) -> None:
    write_key(tmp_path, RSA_KEY)
    keys = source(tmp_path)
    first = keys.current()
    assert keys.current() is first

    write_key(tmp_path, rsa.generate_private_key(65537, 2048), "another-id")

    second = keys.current()
    assert second is not None
    assert second.key_id == "another-id"


def test_broken_key_is_never_replaced_by_none_and_heals(tmp_path: Path) -> None:
    write_key(tmp_path, RSA_KEY)
    keys = source(tmp_path)
    assert keys.current() is not None
    (tmp_path / "sim_private_key.pem").write_bytes(b"broken")
    with pytest.raises(StartupError):
        keys.current()
    (tmp_path / "sim_private_key.pem").unlink()
    with pytest.raises(StartupError):
        keys.current()

    write_key(tmp_path, RSA_KEY)

    assert keys.current() is not None


def test_refused_key_is_read_again_even_if_its_file_looks_the_same(tmp_path: Path) -> None:
    write_key(tmp_path, RSA_KEY)
    keys = source(tmp_path)
    first = keys.current()

    keys.refused()

    assert keys.current() is not first


def settings(cwd: Path, **environ: str) -> Settings:
    return Settings.load(environ, cwd)


def test_without_a_key_requests_are_unsigned(tmp_path: Path) -> None:
    keys = KeySource.of(settings(tmp_path, KALSHI_BUS_ENV="prod"))

    assert not keys.configured
    assert keys.current() is None


def test_missing_key_refuses_the_start_except_on_the_simulator(tmp_path: Path) -> None:
    assert KeySource.of(settings(tmp_path)).missing()
    with pytest.raises(StartupError, match="No such file"):
        KeySource.of(
            settings(
                tmp_path, KALSHI_BUS_ENV="demo", KALSHI_API_KEY_ID="id", KALSHI_PRIVATE_KEY_PATH="none.pem"
            )
        )


def test_world_readable_key_refuses_the_start_also_on_the_simulator(tmp_path: Path) -> None:
    run_dir = tmp_path / ".run"
    run_dir.mkdir()
    write_key(run_dir, RSA_KEY)
    (run_dir / "sim_private_key.pem").chmod(0o644)

    with pytest.raises(StartupError, match="chmod 600"):
        KeySource.of(settings(tmp_path))
