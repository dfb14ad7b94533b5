"""What messages repeat of a value that was set: never what can be a key, its id or a token."""

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.process.echo import kind_of_secret, shown, shown_name, shown_path

KEY_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
TOKENS = st.text(string.ascii_letters + string.digits + "-_./+=", min_size=16, max_size=200)


@pytest.mark.parametrize(
    "value",
    ["real", "70000", "+5003", "5_003", "-1", "nan", "1e9", "", True, None, 40, 2.5, "no_baskt",
     "tcp://0.0.0.0:6000", "tcp://*:6000", "http://example.com", "https://api.example.com:8443"],
)  # fmt: skip
def test_what_can_be_no_secret_is_repeated(value: object) -> None:
    assert shown(value, ["no_basket"]) == repr(value)


@pytest.mark.parametrize(
    "value",
    [KEY_ID, "CANARY", "canary-key-id", "hunter2", "sk_live_51H8", "wss://user:word@example.com", "a@b://c",
     "https://sk-live-51h8.example.com", "-----BEGIN PRIVATE KEY-----", "x\x00", "\ud800", "many words",
     {"canary": "canary"}, ["canary"], f"tcp://{KEY_ID}:1"],
)  # fmt: skip
def test_what_can_be_a_secret_is_described(value: object) -> None:
    said = shown(value)

    assert "hidden" in said or said in ("a table", "a list")
    assert not re.search(r"(?i)canary|hunter|0f8f|51H8|word@|BEGIN|many", said)


def test_the_rest_of_a_url_is_counted() -> None:
    assert shown("https://example.com/a?token=b") == "'https://example.com' and 9 characters more"


def test_a_number_too_long_to_be_written_is_described() -> None:
    assert shown(1 << 20_000) == "an integer of 20001 bits"


@given(TOKENS.filter(lambda text: not re.fullmatch(r"[-+0-9_.eE]*", text)))
def test_no_token_is_repeated(token: str) -> None:
    assert token not in shown(token)
    assert token not in shown_path(Path("/") / f"{token}{token}")


def test_a_path_is_repeated_as_far_as_it_exists(tmp_path: Path) -> None:
    assert shown_path(tmp_path) == str(tmp_path)
    assert shown_path(tmp_path / "kalshi-prod.pem") == f"{tmp_path}/kalshi-prod.pem"
    assert shown_path(tmp_path / "keys" / "none.pem") == f"{tmp_path}/keys/none.pem"
    assert shown_path(tmp_path / ".run" / "sim_key.pem") == f"{tmp_path}/.run/sim_key.pem"
    assert shown_path(tmp_path / KEY_ID) == f"{tmp_path}/(a name of 36 characters, hidden)"
    assert KEY_ID not in shown_path(tmp_path / f"{KEY_ID}.pem")
    assert "canary" not in shown_path(tmp_path / ("canary" * 1_000))
    assert "canary" not in shown_path(tmp_path / "canary\0")


def test_the_name_of_a_setting_is_repeated_unless_it_is_a_value() -> None:
    assert shown_name("snapshot_prot") == "snapshot_prot"
    assert KEY_ID not in shown_name(KEY_ID)
    assert KEY_ID not in shown_name(f"KALSHI_BUS_{KEY_ID}")


@given(st.text())
def test_any_text_is_looked_at(text: str) -> None:
    kind_of_secret(text)
    shown(text)
    shown_name(text)
