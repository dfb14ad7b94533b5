"""The file of URLs: a wrong line affects only itself, and no part of a URL is ever repeated."""

from pathlib import Path

import pytest

from alerts.parcels import is_exchange
from alerts.ways import Ways, exchange_of, read_ways
from bus.process.settings import Settings
from markets.errors import SettingsError

SECRET = "s3cr3tT0ken"


def written(tmp_path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "urls"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_names_schemes_and_the_heartbeat_are_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"# mine\n\nphone ntfy://{SECRET}\ndiscord://1/{SECRET}\nheartbeat https://hc.example/{SECRET}\n",
    )
    found = read_ways(path)
    assert found.problems == ()
    assert found.ways[0][:2] == ("phone", "ntfy")
    assert found.ways[1].name.startswith("discord-")
    assert found.heartbeat is not None
    assert SECRET not in repr(found)
    assert read_ways(None) == Ways()


@pytest.mark.parametrize(
    "line",
    [
        f"{SECRET}",
        f"ntfy:{SECRET}",
        f"phone ntfy://{SECRET} more",
        f"ph;one ntfy://{SECRET}",
        f"heartbeat ntfy://{SECRET}",
        f"json://{SECRET}" + "x" * 3_000,
        f"json://{SECRET}/\x1b[31m",
        f"json://user:{SECRET}@api.elections.kalshi.com/trade-api",
        f"jsons://{SECRET}@demo-api.kalshi.co",
        f"json://127.0.0.1:5003/{SECRET}",
        f"json://[{SECRET}",
        b"\xff\xfe " + SECRET.encode(),
    ],
)
def test_a_wrong_line_affects_only_itself_and_is_not_repeated(tmp_path: Path, line: str | bytes) -> None:
    body = line if isinstance(line, bytes) else line.encode()
    found = read_ways(written(tmp_path, b"good json://localhost:1\n" + body + b"\n"), {"127.0.0.1:5003"})
    assert found.names == ("good",)
    assert len(found.problems) == 1
    assert found.problems[0].startswith("urls, line 2: ")
    assert SECRET not in repr(found.problems)


def test_duplicate_names_and_too_many_ways_are_refused(tmp_path: Path) -> None:
    found = read_ways(written(tmp_path, "a json://x\na json://y\n" + "json://h/\n" * 2))
    assert len(found.ways) == 2
    assert len(found.problems) == 2
    many = read_ways(written(tmp_path, "".join(f"json://host{n}\n" for n in range(50))))
    assert (len(many.ways), len(many.problems)) == (20, 30)


def test_a_file_that_others_can_read_is_not_read(tmp_path: Path) -> None:
    found = read_ways(written(tmp_path, "json://x", 0o644))
    assert found.ways == ()
    assert "chmod 600" in found.problems[0]
    assert read_ways(tmp_path / "nothing").problems
    assert read_ways(tmp_path).problems


def test_a_url_in_place_of_the_file_is_refused_unread(tmp_path: Path) -> None:
    environ = {"KALSHI_BUS_ALERTS_URLS": f"slack://{SECRET}/b/c"}
    with pytest.raises(SettingsError) as refused:
        Settings.load(environ, tmp_path)
    assert "file of mode 0600" in str(refused.value)
    assert SECRET.lower() not in str(refused.value).lower()


def test_the_exchange_is_known_by_its_domains_and_by_the_settings(tmp_path: Path) -> None:
    assert is_exchange("https://kalshi.com/x")
    assert is_exchange("https://a.b.KALSHI.co:443")
    assert not is_exchange("ntfy://my-kalshi-alerts")
    assert not is_exchange("https://kalshi.com.example.org/")
    assert "127.0.0.1:5003" in exchange_of(Settings.load({}, tmp_path))
