"""Settings: precedence, refusals, and what the documents show of them."""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from bus.process.settings import Settings, effective, example_toml, settings_table, variable_of
from bus.process.settings_table import LIVE_CONFIRMATION
from markets.errors import SettingsError
from simulator import options

HERE = Path("/somewhere")
ROOT = Path(__file__).resolve().parents[3]
LIVE = {
    "KALSHI_BUS_MODE": "live",
    "KALSHI_BUS_ENV": "prod",
    "KALSHI_BUS_LIVE_CONFIRMATION": LIVE_CONFIRMATION,
    "KALSHI_API_KEY_ID": "an-id",
    "KALSHI_PRIVATE_KEY_PATH": "/keys/key.pem",
}


def problems_of(environ: Mapping[str, str], cwd: Path = HERE) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ, cwd)
    return caught.value.problems


def refusal_of(environ: Mapping[str, str], cwd: Path) -> str:
    """Return the refusal of these settings, "" if they are taken."""
    try:
        Settings.load(environ, cwd)
    except SettingsError as error:
        return str(error)
    return ""


def test_defaults_are_orders_to_the_simulator_and_play_money_elsewhere() -> None:
    settings = Settings.load({}, HERE)

    assert (settings.mode, settings.env) == ("sim", "sim")
    assert [Settings.load({"KALSHI_BUS_ENV": env}, HERE).mode for env in ("demo", "prod")] == ["paper"] * 2
    assert settings.api_url == "http://127.0.0.1:5003/trade-api/v2"
    assert settings.ws_url == "ws://127.0.0.1:5003/trade-api/ws/v2"
    assert settings.feed == "ipc:///somewhere/.run/feed.sock"
    assert settings.private_key_path == Path("/somewhere/.run/sim_private_key.pem")
    assert (settings.ui_port, settings.snapshot_port, settings.sim_port) == (5001, 5002, 5003)
    assert (settings.poll_interval_s, settings.stale_after_s) == (12, 30)


def test_environment_beats_file_beats_defaults(tmp_path: Path) -> None:
    (tmp_path / "kalshi-bus.toml").write_text(
        'ui_port = 6001\nsnapshot_port = 6002\nseries = ["KXA", "KXB"]\n'
    )

    settings = Settings.load({"KALSHI_BUS_UI_PORT": "7001", "KALSHI_BUS_SNAPSHOT_PORT": ""}, tmp_path)

    assert (settings.ui_port, settings.snapshot_port, settings.sim_port) == (7001, 6002, 5003)
    assert settings.series == ("KXA", "KXB")


def test_a_named_file_replaces_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "kalshi-bus.toml").write_text("ui_port = 6001\n")
    (tmp_path / "other.toml").write_text("ui_port = 6009\n")

    assert Settings.load({"KALSHI_BUS_CONFIG": "other.toml"}, tmp_path).ui_port == 6009


def test_lists_in_the_environment_are_separated_by_commas() -> None:
    settings = Settings.load({"KALSHI_BUS_CATEGORIES": "Sports, Climate and Weather,"}, HERE)

    assert settings.categories == ("Sports", "Climate and Weather")


def test_endpoints_and_the_simulators_key_follow_the_run_dir() -> None:
    settings = Settings.load({"KALSHI_BUS_RUN_DIR": "elsewhere"}, HERE)

    assert settings.query == "ipc:///somewhere/elsewhere/query.sock"
    assert settings.sim_key_id_path == Path("/somewhere/elsewhere/sim_key_id")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.load({}, HERE).ui_port = 1


def test_hosts_of_kalshi_are_not_known_here() -> None:
    settings = Settings.load({"KALSHI_BUS_ENV": "prod"}, HERE)

    assert (settings.api_url, settings.ws_url, settings.private_key_path) == (None, None, None)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "kalshi-bus.toml").write_text(
        "sim_seed = -1\nsnapshot_prot = 1\nsim_markets = true\npoll_interval_s = 40\n"
    )
    environ = {"KALSHI_BUS_UI_PORT": "70000", "KALSHI_BUS_MODE": "real", "KALSHI_BUS_STALE_AFTER_S": "9"}

    assert sorted(problems_of(environ, tmp_path)) == [
        "KALSHI_BUS_MODE (environment): got 'real', expected `sim`, `paper` or `live`",
        (
            "KALSHI_BUS_STALE_AFTER_S (environment): got 9, "
            "expected more than 40, the value of poll_interval_s (kalshi-bus.toml)"
        ),
        "KALSHI_BUS_UI_PORT (environment): got '70000', expected a port, 1..65535, used by no other setting",
        "sim_markets (kalshi-bus.toml): got True, expected 1..1000000 (it is a boolean)",
        "sim_seed (kalshi-bus.toml): got -1, expected 0 or more",
        "snapshot_prot (kalshi-bus.toml): unknown key, did you mean snapshot_port?",
    ]


def test_an_unknown_variable_is_refused_without_its_value() -> None:
    (problem,) = problems_of({"KALSHI_BUS_PRIVATE_KEY": "CANARY"})

    assert problem.startswith("KALSHI_BUS_PRIVATE_KEY (environment): unknown key")
    assert "CANARY" not in problem


def test_a_key_given_as_a_path_is_not_printed() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----"

    told = problems_of({"KALSHI_BUS_API_URL": pem, "KALSHI_BUS_FEED": pem, "KALSHI_BUS_UI_PORT": pem})

    assert len(told) == 3
    assert "CANARY" not in "".join(told)


KEYED = {"KALSHI_BUS_CURVE_KEY": "colleague.key"}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"KALSHI_BUS_MODE": "sim", "KALSHI_BUS_ENV": "demo"}, "KALSHI_BUS_ENV"),
        ({**LIVE, "KALSHI_BUS_ENV": "sim"}, "KALSHI_BUS_ENV"),
        ({**LIVE, "KALSHI_BUS_LIVE_CONFIRMATION": "yes"}, "KALSHI_BUS_LIVE_CONFIRMATION"),
        ({**LIVE, "KALSHI_API_KEY_ID": ""}, "KALSHI_API_KEY_ID"),
        ({"KALSHI_BUS_ENV": "demo", "KALSHI_API_KEY_ID": "an-id"}, "KALSHI_PRIVATE_KEY_PATH"),
        ({"KALSHI_BUS_API_URL": "https://example.com"}, "KALSHI_BUS_API_URL"),
        ({"KALSHI_BUS_ENV": "demo", "KALSHI_BUS_API_URL": "http://example.com"}, "KALSHI_BUS_API_URL"),
        ({"KALSHI_BUS_ENV": "demo", "KALSHI_BUS_WS_URL": "wss://u:p@example.com"}, "KALSHI_BUS_WS_URL"),
        ({"KALSHI_BUS_UI_PORT": "5002"}, "KALSHI_BUS_UI_PORT"),
        ({"KALSHI_BUS_UI_PORT": "0"}, "KALSHI_BUS_UI_PORT"),
        ({"KALSHI_BUS_FEED": "tcp://127.0.0.1:5001"}, "KALSHI_BUS_FEED"),
        ({"KALSHI_BUS_FEED": "tcp://0.0.0.0:6000"}, "KALSHI_BUS_FEED"),
        ({"KALSHI_BUS_FEED": "tcp://*:6000"}, "KALSHI_BUS_FEED"),
        ({"KALSHI_BUS_FEED": "tcp://127.0.0.1:0"}, "KALSHI_BUS_FEED"),
        ({"KALSHI_BUS_FEED": "tcp://127.0.0.1:70000"}, "KALSHI_BUS_FEED"),
        ({"KALSHI_BUS_FEED": "tcp://127.evil.example:6000"}, "KALSHI_BUS_FEED"),
        ({"KALSHI_BUS_FEED": "tcp://host:60000/x", **KEYED}, "KALSHI_BUS_FEED"),
        ({"KALSHI_BUS_STATE": "tcp://192.0.2.1:6000"}, "KALSHI_BUS_STATE"),
        ({"KALSHI_BUS_PAST": "tcp://192.0.2.1:6000", **KEYED}, "KALSHI_BUS_PAST"),
        ({"KALSHI_BUS_ORDERS": "tcp://127.0.0.1:6000", **KEYED}, "KALSHI_BUS_ORDERS"),
        ({"KALSHI_BUS_FEED": "nats://"}, "KALSHI_BUS_FEED"),
        ({"KALSHI_BUS_FEED": "nats://user:CANARY@host/bad stream"}, "KALSHI_BUS_FEED"),
        ({"KALSHI_BUS_QUERY": "nats://host"}, "KALSHI_BUS_QUERY"),
        ({"KALSHI_BUS_FORWARD_FEED": "tcp://localhost:5010"}, "KALSHI_BUS_FORWARD_FEED"),
        ({"KALSHI_BUS_FORWARD_FEED": "tcp://*:5010"}, "KALSHI_BUS_FORWARD_FEED"),
        ({"KALSHI_BUS_FORWARD_FEED": "ipc:///x"}, "KALSHI_BUS_FORWARD_FEED"),
        (
            {"KALSHI_BUS_FORWARD": "yes", "KALSHI_BUS_FORWARD_QUERY": "tcp://0.0.0.0:5001"},
            "KALSHI_BUS_FORWARD_QUERY",
        ),
        ({"KALSHI_BUS_FEED": "ipc://relative.sock"}, "KALSHI_BUS_FEED"),
        ({"KALSHI_BUS_FEED": "ipc:///" + "x" * 107}, "KALSHI_BUS_FEED"),
        ({"KALSHI_BUS_STATE": "ipc:///a", "KALSHI_BUS_QUERY": "ipc:///a"}, "KALSHI_BUS_QUERY"),
        ({"KALSHI_BUS_RUN_DIR": "x" * 100, "KALSHI_BUS_QUERY": "ipc:///a"}, "KALSHI_BUS_RUN_DIR"),
        ({"KALSHI_BUS_SIM_PORT": "many"}, "KALSHI_BUS_SIM_PORT"),
        ({"KALSHI_BUS_POLL_INTERVAL_S": "nan"}, "KALSHI_BUS_POLL_INTERVAL_S"),
        ({"KALSHI_BUS_STALE_AFTER_S": "inf"}, "KALSHI_BUS_STALE_AFTER_S"),
        ({"KALSHI_BUS_CONFIG": "none.toml"}, "KALSHI_BUS_CONFIG"),
    ],
)
def test_one_wrong_setting_is_one_line_that_names_it(changes: dict[str, str], names: str) -> None:
    (problem,) = problems_of(changes)

    assert problem.startswith(names)
    assert "expected" in problem
    assert "CANARY" not in problem


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"KALSHI_BUS_FEED": "tcp://there.example:5010", **KEYED}, "tcp://there.example:5010"),
        ({"KALSHI_BUS_FEED": "tcp://127.0.0.1:5010", **KEYED}, "tcp://127.0.0.1:5010"),
        ({"KALSHI_BUS_FEED": "nats://user:CANARY@host,other/s"}, "nats://host:4222,other:4222/s"),
    ],
)
def test_the_feed_of_another_machine_is_taken_and_shown_without_its_secrets(
    changes: dict[str, str], shown: str
) -> None:
    settings, origin = Settings.with_origins(changes, HERE)

    assert settings.feed == changes["KALSHI_BUS_FEED"]
    assert [row.value for row in effective(settings, origin) if row.key == "feed"] == [shown]


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "/somewhere/.run/sim_private_key.pem"),  # nobody set it, so it is no secret in the wrong place
        ({"KALSHI_PRIVATE_KEY_PATH": "/somewhere/CANARY"}, "/(a name of 16 characters, hidden)"),
    ],
)
def test_the_path_of_a_key_is_shown_unless_somebody_set_it_and_it_does_not_exist(
    changes: dict[str, str], shown: str
) -> None:
    settings, origin = Settings.with_origins(changes, HERE)

    assert [row.value for row in effective(settings, origin) if row.key == "private_key_path"] == [shown]


def test_one_address_elsewhere_may_be_state_and_query() -> None:
    there = "tcp://192.0.2.1:5011"
    settings = Settings.load({"KALSHI_BUS_STATE": there, "KALSHI_BUS_QUERY": there, **KEYED}, HERE)
    assert settings.state == settings.query == there


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:6000", "ipc:///tmp/feed.sock", "ipc:///" + "x" * 106])
def test_endpoints_on_this_machine_are_taken(endpoint: str) -> None:
    assert Settings.load({"KALSHI_BUS_FEED": endpoint}, HERE).feed == endpoint


def test_live_starts_with_key_and_confirmation() -> None:
    assert Settings.load(LIVE, HERE).mode == "live"


def test_a_file_that_is_not_toml_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "kalshi-bus.toml").write_text("ui_port = = 1\n")

    (problem,) = problems_of({}, tmp_path)

    assert "kalshi-bus.toml" in problem
    assert "line 1" in problem


def test_the_key_id_is_not_in_the_repr() -> None:
    assert "an-id" not in repr(Settings.load(LIVE, HERE))


def test_the_document_shows_exactly_these_tables() -> None:
    document = (ROOT / "docs/settings.md").read_text()

    shown = document.split("<!-- settings -->\n")[1].split("<!-- /settings -->")[0]

    assert shown == settings_table(), "make settings"


def test_the_example_has_every_setting_and_holds_when_all_of_it_is_taken(short_dir: Path) -> None:
    example = (ROOT / "kalshi-bus.example.toml").read_text()
    assert example == example_toml(), "make settings"
    keys = re.findall(r"^# (\w+) = ", example, re.MULTILINE)
    assert set(keys) == set(Settings.model_fields)
    taken = re.sub(r'^# (\w+ = (?!""$))', r"\1", example, flags=re.MULTILINE)
    (short_dir / "kalshi-bus.toml").write_text(taken)

    found, _ = Settings.with_origins({}, short_dir)

    assert found == Settings.load({}, short_dir / "elsewhere").model_copy(
        update={key: getattr(found, key) for key in keys if str(short_dir) in str(getattr(found, key))}
    )


KEY_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def test_what_stands_around_a_value_is_no_part_of_it() -> None:
    settings = Settings.load({"KALSHI_API_KEY_ID": f" {KEY_ID}\r\n", "KALSHI_BUS_SIM_PORT": " 5013\t"}, HERE)

    assert settings.api_key_id == KEY_ID
    assert settings.api_url == "http://127.0.0.1:5013/trade-api/v2"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (f"{KEY_ID[:8]}\r{KEY_ID}", "character 9 is U+000D"),
        (f"{KEY_ID}\u2028", None),
        (f"\u201c{KEY_ID}\u201d", "character 1 is U+201C"),
        ("two words", "character 4 is U+0020"),
        ("x" * 201, "201 characters"),
        ("-----BEGIN PRIVATE KEY-----", "names the key's file"),
    ],
)
def test_a_key_id_is_printable_ascii_or_refused_by_name(value: str, why: str | None) -> None:
    environ = {"KALSHI_API_KEY_ID": value}
    if why is None:  # white space of Unicode is white space
        assert Settings.load(environ, HERE).api_key_id == KEY_ID
        return

    (problem,) = problems_of(environ)

    assert problem.startswith("KALSHI_API_KEY_ID (environment): got a value that stays hidden, expected")
    assert why in problem
    assert KEY_ID not in problem


@pytest.mark.parametrize("port", ["+5003", "5_003", "5003.0", "0x138b", "\u0665\u0660\u0660\u0663", "5 003"])
@pytest.mark.parametrize("variable", ["KALSHI_BUS_SIM_PORT", "KALSHI_BUS_UI_PORT"])
def test_a_port_is_written_in_digits(port: str, variable: str) -> None:
    (problem,) = problems_of({variable: port})

    assert problem.startswith(f"{variable} (environment): got ")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"ui_port = " + b"[" * 200 + b"]" * 200, "kalshi-bus.toml"),
        (b"ui_port = " + b"[" * 3_000 + b"]" * 3_000, "too many brackets"),
        (b"ui_port = " + b"[" * 5_000, "too many brackets"),
        (b"ui_port = 0x" + b"f" * 20_000, "got an integer of 80000 bits, expected a port"),
        (b"ui_port = " + b"9" * 20_000, "not TOML"),
        ('ui_port = "\u00e9"'.encode("latin-1"), "not TOML"),
        ("ui_port = 6001\n".encode("utf-16"), "is UTF-16, expected UTF-8"),
        (b'run_dir = "a\\u0000b"', "expected a directory"),
        (b'run_dir = ["a"]', "got a list, expected a directory"),
        (b"ui_port = 1979-05-27", "got a date, expected a port"),
        (b"[ui_port]\na = 1", "got a table, expected a port"),
        (
            b'"' + KEY_ID.encode() + b'" = 1',
            "(a name of 36 characters, hidden) (kalshi-bus.toml): unknown key",
        ),
        (b"x = 1\n" * 300_000, "more than 1048576 bytes"),
    ],
    ids=range(13),
)
def test_no_file_ends_in_a_traceback(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "kalshi-bus.toml").write_bytes(content)

    (problem,) = problems_of({}, tmp_path)

    assert says in problem
    assert KEY_ID not in problem


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "kalshi-bus.toml").write_bytes(b"\xef\xbb\xbfui_port = 6001\r\n")

    assert Settings.load({}, tmp_path).ui_port == 6001


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "fifo", "/", "\udcff"])
def test_what_is_no_file_of_settings_is_neither_waited_for_nor_read(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")

    assert len(problems_of({"KALSHI_BUS_CONFIG": name}, tmp_path)) == 1


SECRETS = {
    "pem": "-----BEGIN PRIVATE KEY-----\nMIICANARY\n-----END PRIVATE KEY-----\n",
    "pem in a line": "-----BEGIN RSA PRIVATE KEY-----\\nMIICANARY\\n-----END RSA PRIVATE KEY-----\\n",
    "body": "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCANARY",
    "id": "CANARY00-d9cb-469f-a165-70867728950e",
    "token": "CANARY-sk_live_51HbdPq",
    "url": "https://me:CANARY@example.com/",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_in_whatever_setting_is_in_no_refusal(tmp_path: Path, secret: str) -> None:
    (tmp_path / "other.toml").write_text(secret)
    said = [refusal_of({"KALSHI_BUS_CONFIG": value}, tmp_path) for value in ("other.toml", secret)]
    for key in Settings.model_fields:
        said.append(refusal_of({variable_of(key): secret}, tmp_path))
        said.append(refusal_of({f"{variable_of(key)}S": secret}, tmp_path))
        (tmp_path / "kalshi-bus.toml").write_text(f"{key} = {json.dumps(secret)}\n{json.dumps(secret)} = 1\n")
        said.append(refusal_of({}, tmp_path))
        (tmp_path / "kalshi-bus.toml").unlink()

    assert len([*filter(None, said)]) > 2 * len(Settings.model_fields)
    assert "CANARY" not in "".join(said)


@pytest.mark.parametrize(
    "key", ["run_dir", "data_dir", "fair_values_file", "series", "tickers", "strategies"]
)
def test_the_text_of_a_key_is_taken_for_nothing_else(key: str) -> None:
    assert len(problems_of({variable_of(key): SECRETS["pem"]})) == 1


@pytest.mark.parametrize("key", ["data_dir", "series", "strategies", "fair_values", "ui_port"])
def test_what_is_not_utf_8_is_refused(key: str) -> None:
    (problem,) = problems_of({variable_of(key): "mine_K\udcf6nig"})
    assert variable_of(key) in problem
    assert problem.encode()


@pytest.mark.parametrize("name", ["values", "values.txt", "values.CSV", "values.csv.bak", ".csv"])
def test_a_file_of_fair_values_is_one_of_two_kinds(name: str) -> None:
    (problem,) = problems_of({"KALSHI_BUS_FAIR_VALUES_FILE": name})
    assert "KALSHI_BUS_FAIR_VALUES_FILE" in problem
    assert "expected a `.csv` or `.json` file" in problem


def test_the_text_of_a_key_is_refused_with_the_command_that_makes_a_file_of_it() -> None:
    for text in (SECRETS["pem"], SECRETS["pem in a line"]):
        (problem,) = problems_of({**LIVE, "KALSHI_PRIVATE_KEY_PATH": text})
        assert "printf '%b\\n' \"$KALSHI_PRIVATE_KEY_PATH\" > kalshi.pem" in problem


ANY_TEXT = st.one_of(
    st.text(max_size=60),
    st.sampled_from([*SECRETS.values(), "sim", "live", "0", "5003", "1e999999", "yes", LIVE_CONFIRMATION]),
    st.from_regex(r"(ipc|tcp|https?|wss?)://.{0,30}"),
)
ANY_TOML = st.recursive(
    st.one_of(ANY_TEXT, st.integers(), st.floats(), st.booleans(), st.dates(), st.datetimes(), st.times()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted(Settings.model_fields))


@settings_of_hypothesis(max_examples=300, deadline=None)
@given(
    st.dictionaries(KEYS.map(variable_of) | st.just("KALSHI_BUS_OTHER"), ANY_TEXT, max_size=6),
    st.dictionaries(KEYS, ANY_TOML, max_size=4),
    st.sampled_from(["/", "/somewhere", "/x" * 60, "/\udcff"]),
)
def test_any_environment_and_file_give_settings_or_a_refusal(
    environ: dict[str, str], values: dict[str, object], cwd: str
) -> None:
    refusal = None
    try:
        settings = Settings.of(values, environ, Path(cwd))[0]
    except SettingsError as error:
        refusal = str(error)
    else:
        assert settings.run_dir.is_absolute()
        str(settings.model_dump()).encode()
    assert refusal is None or (refusal and "CANARY" not in refusal)


@settings_of_hypothesis(max_examples=200, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode(errors="replace")))
)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "kalshi-bus.toml").write_bytes(content)
    with suppress(SettingsError):
        Settings.load({}, folder)


def test_every_setting_has_a_row_and_an_own_variable() -> None:
    variables = [variable_of(key) for key in Settings.model_fields]

    assert len(set(variables)) == len(variables)
    assert all(f"| `{variable}` |" in settings_table() for variable in variables)


@pytest.mark.parametrize("markets", ["0", "1", "500001", "1000000", "1000001", "many"])
def test_the_simulator_takes_the_numbers_of_markets_that_its_setting_takes(markets: str) -> None:
    try:
        taken = Settings.load({"KALSHI_BUS_SIM_MARKETS": markets}, HERE).sim_markets
    except SettingsError:
        with pytest.raises(SystemExit):
            options.parse(["--markets", markets])
    else:
        assert options.parse(["--markets", str(taken)]).markets == taken
