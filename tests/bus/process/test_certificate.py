"""Which certificates are taken, what is said of the others, and when they are read again."""

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bus.clock import ManualClock
from bus.process.certificate import FILE_MAX, SOON_S, Files, Renewed, files_of, read_certificate
from bus.process.settings import Settings
from markets.errors import SettingsError, StartupError
from tests.certificates import make_certificate


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(*make_certificate(tmp_path))


def test_a_certificate_says_whom_it_is_for_and_until_when(files: Files) -> None:
    found = read_certificate(files)
    assert found.names == ("localhost", "127.0.0.1")
    clock = ManualClock(found.until_s * 1_000 - (SOON_S + 60) * 1_000)
    assert found.warning(clock) is None
    clock.advance(120_000)
    assert found.warning(clock) == "ends in 13 days"
    clock.advance(SOON_S * 1_000)
    assert str(found.warning(clock)).startswith("ended 0 days ago")


def test_one_that_has_ended_is_shown_all_the_same_since_no_server_is_the_worse_for_it(tmp_path: Path) -> None:
    found = read_certificate(Files(*make_certificate(tmp_path, days=-3)))
    assert (
        found.warning(ManualClock(found.until_s * 1_000 + 86_400_000))
        == "ended 1 days ago: clients refuse it"
    )


def _other(files: Files) -> None:
    folder = files.key.parent / "other"
    folder.mkdir()
    files.key.write_bytes(make_certificate(folder)[1].read_bytes())


def _locked(files: Files) -> None:
    make_certificate(files.key.parent, locked=True)


def _folder(files: Files) -> None:
    files.certificate.unlink()
    files.certificate.mkdir()


def _fifo(files: Files) -> None:
    files.certificate.unlink()
    os.mkfifo(files.certificate)


def _linked(files: Files) -> None:
    files.key.rename(files.key.with_suffix(".real"))
    files.key.symlink_to(files.key.with_suffix(".real"))


NO_CERTIFICATE = "tls.pem: no certificate in PEM form"
NO_KEY = "tls.key: no private key in PEM form"

WRONG: dict[str, tuple[Callable[[Files], object], str]] = {
    "certificate missing": (lambda files: files.certificate.unlink(), "tls.pem: cannot be read: No such"),
    "certificate a folder": (_folder, "tls.pem: cannot be read: Is a directory"),
    "certificate a fifo": (_fifo, "tls.pem: not a regular file"),
    "certificate empty": (lambda files: files.certificate.write_bytes(b""), NO_CERTIFICATE),
    "certificate a key": (
        lambda files: files.certificate.write_bytes(files.key.read_bytes()),
        NO_CERTIFICATE,
    ),
    "certificate binary": (lambda files: files.certificate.write_bytes(bytes(range(256))), NO_CERTIFICATE),
    "certificate cut off": (
        lambda files: files.certificate.write_bytes(files.certificate.read_bytes()[:300]),
        NO_CERTIFICATE,
    ),
    "certificate spoiled": (
        lambda files: files.certificate.write_text(files.certificate.read_text().replace("A", "B")),
        NO_CERTIFICATE,
    ),
    "certificate huge": (
        lambda files: files.certificate.write_bytes(b"x" * (FILE_MAX + 1)),
        "tls.pem: more than",
    ),
    "key missing": (lambda files: files.key.unlink(), "tls.key: cannot be read: No such file"),
    "key open to others": (lambda files: files.key.chmod(0o640), "tls.key: mode 0640 is looser than 0600"),
    "key a link": (_linked, "tls.key: a symbolic link"),
    "key empty": (lambda files: files.key.write_bytes(b""), NO_KEY),
    "key binary": (lambda files: files.key.write_bytes(bytes(range(256))), NO_KEY),
    "key a certificate": (lambda files: files.key.write_bytes(files.certificate.read_bytes()), NO_KEY),
    "key of another": (_other, "tls.key: not the key of the certificate in"),
    "key locked": (_locked, "tls.key: asks for a passphrase"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_used_is_named_with_what_is_wrong(files: Files, what: str) -> None:
    spoil, said = WRONG[what]
    secret = files.key.read_text()
    spoil(files)
    with pytest.raises(StartupError) as refused:
        read_certificate(files)
    assert said in str(refused.value)
    assert secret.splitlines()[1] not in str(refused.value)


def test_both_may_be_in_one_file(files: Files) -> None:
    files.key.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    assert read_certificate(Files(files.key, files.key)).names == ("localhost", "127.0.0.1")


def test_one_without_the_other_is_refused(tmp_path: Path) -> None:
    for one, other in (("certificate", "key"), ("key", "certificate")):
        with pytest.raises(SettingsError) as refused:
            Settings.load({f"KALSHI_BUS_TLS_{one.upper()}": "x.pem"}, tmp_path)
        assert f"KALSHI_BUS_TLS_{other.upper()} (default): got nothing" in str(refused.value)
    both = {"KALSHI_BUS_TLS_CERTIFICATE": "x.pem", "KALSHI_BUS_TLS_KEY": "x.key"}
    assert files_of(Settings.load(both, tmp_path)) == Files(tmp_path / "x.pem", tmp_path / "x.key")
    assert files_of(Settings.load({}, tmp_path)) is None


def test_a_renewed_one_is_read_once_both_files_are_there(files: Files, tmp_path: Path) -> None:
    renewed = Renewed(files)
    first = renewed.now
    assert not renewed.look()
    (tmp_path / "new").mkdir()
    later = make_certificate(tmp_path / "new", days=80)
    later[0].replace(files.certificate)
    assert not renewed.look(), "the key is still the old one"
    assert renewed.now is first
    later[1].replace(files.key)
    assert renewed.look()
    assert renewed.now.until_s > first.until_s
    assert isinstance(renewed.now.context, ssl.SSLContext)
    assert not renewed.look()


def test_while_the_files_cannot_be_used_the_last_good_one_stays(files: Files) -> None:
    renewed = Renewed(files)
    good = files.certificate.read_bytes()
    for spoil in (lambda: files.certificate.write_bytes(b"x"), files.certificate.unlink):
        spoil()
        with capture_logs() as logs:
            assert [renewed.look() for _ in range(4)] == [False] * 4
        assert [entry["event"] for entry in logs] == ["tls.not_renewed"], "said once"
    assert renewed.now.names == ("localhost", "127.0.0.1")
    files.certificate.write_bytes(good)
    files.key.chmod(0o644)
    assert not renewed.look()
    files.key.chmod(0o600)
    assert renewed.look()
