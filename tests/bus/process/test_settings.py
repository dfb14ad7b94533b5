"""Settings: precedence, refusals, and the table in the README."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bus.process.settings import Settings, settings_table, variable_of
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


def test_defaults_are_paper_trading_on_the_simulator() -> None:
    settings = Settings.load({}, HERE)

    assert (settings.mode, settings.env) == ("paper", "sim")
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
            "expected more than 40, poll_interval_s (kalshi-bus.toml)"
        ),
        "KALSHI_BUS_UI_PORT (environment): got '70000', expected a port, 1..65535, not used twice",
        "sim_markets (kalshi-bus.toml): got True, expected 1..1000000 (a boolean)",
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


def test_the_readme_shows_exactly_this_table() -> None:
    readme = (ROOT / "README.md").read_text()

    shown = readme.split("<!-- settings -->\n")[1].split("<!-- /settings -->")[0]

    assert shown == settings_table(), "write bus.process.settings.settings_table() between the markers"


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
