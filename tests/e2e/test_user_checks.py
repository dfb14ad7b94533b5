"""Users' own checks, with real processes: requests never call Kalshi; stale data is served and marked."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.e2e.conftest import START_S, Stack, get
from tests.support import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def when(event: dict[str, str]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


@pytest.mark.alone
def test_requests_never_call_kalshi(stack: Stack) -> None:
    stack.start_all()

    def a_sweep_and_its_books() -> tuple[int, int]:
        """Return (sweeps logged, requests counted by the exchange), just before a sweep is due."""
        known = len(stack.sweeps())
        eventually(lambda: len(stack.sweeps()) > known, START_S)
        return len(stack.sweeps()), stack.simulator_requests()

    def window(sweeps: int) -> int:
        first, before = a_sweep_and_its_books()
        eventually(lambda: len(stack.sweeps()) >= first + sweeps, START_S)
        return stack.simulator_requests() - before

    quiet = window(6)

    ticker = get(f"{stack.snapshot_url}/markets?limit=1")[1]["markets"]["markets"][0]["ticker"]
    urls = [
        f"{stack.ui_url}/",
        f"{stack.ui_url}/api/opportunities",
        f"{stack.ui_url}/m/{ticker}",
        f"{stack.snapshot_url}/markets",
        f"{stack.snapshot_url}/markets?tickers={ticker}",
        f"{stack.snapshot_url}/health",
    ]
    first, before = a_sweep_and_its_books()
    with ThreadPoolExecutor(6) as clients:
        statuses = list(clients.map(lambda n: get(urls[n % len(urls)])[0], range(600)))
        while len(stack.sweeps()) < first + 6:
            statuses += clients.map(lambda n: get(urls[n % len(urls)])[0], range(60))
    hammered = stack.simulator_requests() - before
    extra = len(stack.sweeps()) - (first + 6)

    assert set(statuses) == {200}
    assert len(statuses) >= 600
    per_sweep = quiet / 6
    assert abs(hammered - per_sweep * (6 + extra)) <= 2 * per_sweep + 2, (quiet, hammered, extra)
    times = [when(event) for event in stack.sweeps()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(abs(gap - 1) < 0.5 for gap in gaps), f"not within 0.5 s of a second: {gaps}"


def test_stale_data_is_served_with_its_age_and_everything_recovers(stack: Stack) -> None:
    stack.start_all()
    markets = get(f"{stack.snapshot_url}/markets")[1]["markets"]["total_count"]
    assert markets > 100
    assert get(f"{stack.snapshot_url}/ready")[0] == 200

    # The key breaks: a valid key, but not the exchange's.
    good = stack.key_path.read_bytes()
    other = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    stack.key_path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    stale = stack.wait_health("stale", 20)
    assert stale["age_seconds"] > 4
    assert stale["publisher"]["key"] == "refused"
    assert get(f"{stack.snapshot_url}/ready")[0] == 503

    # The exchange goes away as well: the last data is still served, and its age keeps growing.
    stack.processes["simulator"].kill()
    older = eventually(lambda: (h := stack.health())["age_seconds"] > stale["age_seconds"] + 2 and h, 20)
    assert older["status"] == "stale"
    status, answer = get(f"{stack.snapshot_url}/markets")
    assert status == 200
    assert answer["stale"] is True
    assert answer["markets"]["total_count"] == markets
    assert answer["age_seconds"] > 4
    eventually(lambda: "stale" in str(get(f"{stack.ui_url}/")[1]).lower(), 10, "the page says stale")
    assert "refused" in get(f"{stack.ui_url}/")[1].lower()
    assert stack.opportunities()["stale"] is True

    # Both return: everything recovers by itself.
    stack.key_path.write_bytes(good)
    stack.key_path.chmod(0o600)
    stack.start("simulator")
    fresh = stack.wait_health("ok", 40)
    assert fresh["age_seconds"] < 4
    eventually(lambda: stack.opportunities().get("stale") is False, 20, "the page is fresh again")
    eventually(lambda: stack.health()["publisher"]["key"] == "ok", 20)


def test_processes_start_in_the_reverse_order_and_stop_cleanly(stack: Stack) -> None:
    """Together with the other tests' order, each pair of processes is thus started both ways round."""
    stack.start("trader", "ui", "snapshot_server")
    eventually(lambda: stack.health().get("status") == "starting", START_S)
    eventually(lambda: stack.trader().get("state") == "starting", START_S)
    assert get(f"{stack.snapshot_url}/markets")[0] == 503
    stack.start("publisher")
    stack.processes["publisher"].wait_event("process.started", START_S)
    stack.start("simulator")
    stack.wait_working()
    stack.wait_digests_agree()
    for name in ("publisher", "simulator", "trader", "ui", "snapshot_server"):
        assert stack.processes[name].stop(6) == 0, name


def test_publisher_restarts_from_its_checkpoint_and_readers_follow(stack: Stack) -> None:
    stack.start_all()
    stack.processes["publisher"].wait_event("checkpoint.saved", START_S)
    epoch = stack.health()["epoch"]
    stack.processes["publisher"].kill()
    stack.start("publisher")
    eventually(lambda: stack.health()["epoch"] > epoch, 20, "the snapshot server follows the new epoch")
    stack.wait_health("ok", 20)
    assert stack.health()["degraded"] == []
    ui_epoch = eventually(lambda: get(f"{stack.ui_url}/api/status")[1].get("epoch", 0) > epoch, 20)
    assert ui_epoch


def test_a_second_instance_of_any_process_refuses_to_start_with_one_clear_error(stack: Stack) -> None:
    stack.start("simulator", "publisher", "snapshot_server", "ui")
    stack.wait_health("ok", START_S)
    eventually(lambda: get(f"{stack.ui_url}/api/status")[0] == 200, START_S)
    first = dict(stack.processes)
    stack.start(*first)  # all at once: each finds its place taken
    for name, second in stack.processes.items():
        assert second.wait(15) not in (0, -9), name
        lines = [line for line in second.output().splitlines() if line.strip()]
        assert len([line for line in lines if not line.startswith("{")]) == 1, second.output()
        assert "Traceback" not in second.output()
        assert first[name].popen.poll() is None


def test_an_exchange_that_answers_html_fails_the_sweep_and_nothing_else(stack: Stack) -> None:
    stack.start_all()
    count = stack.health()["market_count"]
    stack.processes["simulator"].kill()
    # Something there now answers HTML, such as a captive portal or a proxy's error page.
    html = stack.runner.start("http.server", str(stack.runner.sim_port), "--bind", "127.0.0.1")
    stack.wait_health("stale", 20)
    health = stack.health()
    assert health["market_count"] == count
    assert stack.processes["publisher"].popen.poll() is None
    html.kill()
    stack.start("simulator")
    stack.wait_health("ok", 40)
