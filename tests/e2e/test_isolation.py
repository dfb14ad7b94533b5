"""Only publisher and order gateway need to reach the exchange; all else works in a namespace without a route.

The namespace has only a loopback of its own. ZeroMQ's ipc endpoints are files, so the feed gets in; a TCP
connection does not get out.
"""

from pathlib import Path

import msgspec
import pytest

from tests.e2e.conftest import START_S, Stack, get
from tests.e2e.namespaces import inside, new_namespace
from tests.support import Process, Runner, eventually
from trader.engine.inputs import Account, Data, Gateway, Orders
from trader.engine.replay import replay
from trader.journal.reader import Reader

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CLIENT = """
import json, socket, sys, urllib.request
run_dir, snapshot_port, ui_port, sim_port = sys.argv[1], *map(int, sys.argv[2:])

def reach(host, port):
    try:
        socket.create_connection((host, port), 3).close()
    except OSError as error:
        return type(error).__name__ if isinstance(error, ConnectionError) else error.strerror
    return "connected"

def text(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
        return reply.read().decode()

def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
        return json.load(reply)

from bus.ask import ask
from bus.sockets import make_context
context = make_context()
print(json.dumps({
    "interfaces": [name for _, name in socket.if_nameindex()],
    "simulator": reach("127.0.0.1", sim_port),
    "elsewhere": reach("192.0.2.1", 443),
    "markets": get(snapshot_port, "/markets"),
    "health": get(snapshot_port, "/health"),
    "metrics": text(snapshot_port, "/metrics"),
    "opportunities": get(ui_port, "/api/opportunities"),
    "orders": ask(context, f"ipc://{run_dir}/orders.sock", {"op": "gateway", "id": 1}),
    "trader": ask(context, f"ipc://{run_dir}/trader_control.sock", {"op": "status", "id": 1}),
    "snapshot_server": ask(context, f"ipc://{run_dir}/query.sock", {"op": "health", "id": 1}),
}))
context.term()
"""


@pytest.fixture(name="namespace")
def _namespace(runner: Runner) -> Process:
    return new_namespace(runner)


def namespace_of(pid: int | str) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


OUTSIDE = ("simulator", "publisher", "publisher.orders", "publisher.orders.watchdog")
"""The processes that contact the exchange, and the exchange itself."""


def test_all_processes_that_do_not_contact_the_exchange_work_without_a_route(
    stack: Stack, namespace: Process
) -> None:
    runner = stack.runner
    runner.env["KALSHI_BUS_MODE"] = "sim"  # orders leave, through the gateway
    urls = runner.folder / "urls"
    urls.touch(mode=0o600)
    urls.write_text("away json://192.0.2.1/\n")  # the alerts' way out, the only thing to fail
    runner.env |= {"KALSHI_BUS_ALERTS": "yes", "KALSHI_BUS_ALERTS_URLS": str(urls)}
    stack.start(*OUTSIDE)
    for name in ("snapshot_server", "ui", "trader", "snapshot_server.past", "alerts"):
        stack.processes[name] = inside(runner, namespace, "-m", name)
    stack.processes["recorder"] = inside(runner, namespace, "-m", "bus", "record")
    for name, process in stack.processes.items():
        outside = name in OUTSIDE
        eventually(lambda: (namespace_of(process.pid) == namespace_of("self")) == outside)  # noqa: B023
    eventually(lambda: stack.trader().get("state") == "running", START_S, "the trader runs")

    def asked() -> dict[str, msgspec.Raw]:
        arguments = map(str, (runner.run_dir, runner.snapshot_port, runner.ui_port, runner.sim_port))
        client = inside(runner, namespace, "-c", CLIENT, *arguments)
        assert client.wait(30) == 0, client.output()
        return msgspec.json.decode(client.output(), type=dict[str, msgspec.Raw])

    def decoded(raw: msgspec.Raw) -> dict[str, object]:
        return msgspec.json.decode(raw, type=dict[str, object])

    def fresh() -> dict[str, msgspec.Raw] | None:
        found = asked()
        opportunities = decoded(found["opportunities"])
        return found if opportunities["total_analyzed"] and not opportunities["stale"] else None

    found = eventually(fresh, START_S, "the dashboard answers inside")
    assert found is not None
    assert msgspec.json.decode(found["interfaces"]) == ["lo"]
    assert msgspec.json.decode(found["simulator"]) == "ConnectionRefusedError"
    assert msgspec.json.decode(found["elsewhere"]) == "Network is unreachable"
    markets = msgspec.json.decode(found["markets"])
    assert markets["markets"]["total_count"] > 100
    assert markets["stale"] is False
    for name in ("health", "snapshot_server"):
        health = decoded(found[name])
        assert (health["status"], health["feed"], health["degraded"]) == ("ok", "live", [])
    trader = decoded(found["trader"])
    assert (trader["state"], trader["feed"], trader["mode"]) == ("running", "live", "sim")
    assert decoded(found["orders"])["state"] == "ready"

    # Updates keep arriving, and the ports inside differ from those outside.
    seq = decoded(found["health"])["seq"]
    eventually(lambda: decoded(asked()["health"])["seq"] != seq, START_S)
    assert get(f"{stack.snapshot_url}/health")[0] == 0
    assert get(f"{stack.ui_url}/")[0] == 0
    assert get(f"http://127.0.0.1:{runner.sim_port}/sim/stats")[0] == 200
    recording = runner.folder / "data" / "recording"
    eventually(lambda: any(recording.iterdir()), what="the recorder records")

    # Processes without an HTTP port pass their metrics to one that has it.
    names = (
        "trader_running",
        "gateway_ready",
        "recorder_messages_total",
        "ui_event_streams",
        "publisher_failing",
        "alerts_rules",
    )

    def told() -> bool:
        text = msgspec.json.decode(asked()["metrics"], type=str)
        return all(f"kalshi_bus_{name}" in text for name in names)

    eventually(told, START_S, "all have passed on their metrics")

    # Alerts are judged here, too; what cannot get out is reported and delays nothing.
    assert stack.ask("alerts_control", "set_rule", rule={"kind": "stale"})["number"] == 1
    assert stack.ask("alerts_control", "test")

    def failed() -> bool:
        alerts = stack.ask("alerts_control", "alerts")
        states = [(way["name"], way["state"]) for way in alerts["ways"]]
        return states == [("away", "fails")] and alerts["rules"][0]["problem"] is None

    eventually(failed, START_S, "the way out is reported as failing")

    # An order by hand goes the same way as a strategy's, but need not wait for a mispricing.
    def ordered() -> bool:
        answer = msgspec.json.decode(asked()["markets"])
        for market in answer["markets"]["markets"]:
            order = {"ticker": market["ticker"], "side": "yes", "count_fp": "1.00"}
            ticket = stack.ask("trader_control", "prepare", **order, price_dollars=market["yes_ask_dollars"])
            if ticket and ticket["ticket"]["refused"] is None:
                number = ticket["ticket"]["number"]
                return bool(stack.ask("trader_control", "confirm", ticket=number).get("orders"))
        return False

    eventually(ordered, START_S, "an order by hand is accepted")

    def answered() -> bool:
        orders = stack.ask("trader_control", "orders").get("orders") or ()
        return any(order.get("status") not in ("intended", "sent", "unknown") for order in orders)

    eventually(answered, START_S, "an order was sent, and answered")
    for name in ("alerts", "trader", "ui", "snapshot_server", "snapshot_server.past", "recorder"):
        assert stack.processes[name].stop(5) == 0, name

    # The trader decided on its recorded inputs alone: the same inputs give the same bytes.
    (journal,) = (runner.folder / "data").glob("trader-sim*.sqlite")
    reader = Reader(journal)
    inputs = [taken for session in reader.sessions() for _, taken, _ in reader.inputs(session)]
    assert {Gateway, Account, Data, Orders} <= {type(taken) for taken in inputs}
    assert [replay(reader.inputs(session)).differs_at for session in reader.sessions()] == [
        None for _ in reader.sessions()
    ]
    reader.close()
