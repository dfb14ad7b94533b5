"""Figures that processes tell, joined at /metrics; alert rules and board, asked of a real Prometheus."""

import http.server
import json
import re
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from bus.ask import Asker
from bus.clock import ManualClock
from bus.metrics import (
    FIGURES_MOST,
    FORGOTTEN_MS,
    METRICS,
    PROCESSES_MOST,
    Figure,
    Joined,
    Telling,
    disk_figures,
    gateway_figures,
    process_figures,
    trader_figures,
)
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.process.supervised import Supervised
from bus.protocol.answers import Answers
from bus.protocol.join import Stats
from bus.protocol.messages import PublisherHealth, decode_map, encode_map
from bus.replica import ReplicaStatus
from bus.server import QueryServer
from bus.trading.gateway import GatewayStatus
from bus.trading.shapes import TraderStatus
from snapshot_server.metrics import exposition
from snapshot_server.view import View
from tests.bus.live import Context
from tests.support import ROOT, Process, Runner, eventually, free_ports

OPS = ROOT / "ops"


def example(type_: Any) -> Any:
    """Return a value of a type: 1, an amount for text, one of each for lists."""

    def dec(value_type: Any, value: Any) -> Any:
        return value_type(value)

    def value(info: Any) -> Any:
        match info:
            case msgspec.inspect.StructType(fields=fields):
                named = {field.encode_name: value(field.type) for field in fields}
                return [*named.values()] if info.cls.__struct_config__.array_like else named
            case msgspec.inspect.Metadata(type=described):
                return value(described)
            case msgspec.inspect.UnionType(types=types):
                return value(next(one for one in types if not isinstance(one, msgspec.inspect.NoneType)))
            case msgspec.inspect.LiteralType(values=values):
                return values[0]
            case msgspec.inspect.EnumType(cls=cls):
                return next(iter(cls)).value
            case msgspec.inspect.StrType(pattern=pattern):
                texts = ("1.500000", "1.5000", "1.50")
                return next(text for text in texts if pattern is None or re.search(pattern, text))
            case msgspec.inspect.BoolType():
                return True
            case msgspec.inspect.DictType(value_type=value_type):
                return {"a reason": value(value_type)}
            case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.ListType(item_type=item):
                return [value(item)]
            case msgspec.inspect.TupleType(item_types=items):
                return [value(item) for item in items]
            case msgspec.inspect.FloatType():
                return 1.5
            case msgspec.inspect.NoneType():
                return None
            case _:
                return 1

    return msgspec.convert(value(msgspec.inspect.type_info(type_)), type_, dec_hook=dec)


def everything() -> list[tuple[str, Figure]]:
    """Every metric that may be told, once at least."""
    told = [Figure(name, ("x",) * len(one.labels), 1.0) for name, one in METRICS.items()]
    told += [
        Figure("trader_orders", ("unknown",), 0.0),
        Figure("trader_exposure_dollars", ("total",), 1.0),
        Figure("trader_limit_dollars", ("total",), 5.0),
        Figure("forwarder_handshakes", ("refused",), 0.0),
    ]
    return [("any", figure) for figure in told]


def text_of(told: list[tuple[str, Figure]]) -> bytes:
    """The whole of /metrics of a server that is well."""
    replica = ReplicaStatus(
        1, 1, live=True, phase="live", lost=False, age_ms=1, degraded=(), source="live", stats=Stats()
    )
    view = View(None, replica, None, 30_000)
    health = msgspec.structs.replace(
        view.health(0),
        publisher=PublisherHealth(stream_books=3),
        processes={"publisher": Supervised("RUNNING", 1, 1.0, 0, 0, None)},
        age_seconds=1.0,
    )  # fmt: skip
    return exposition(health, Stats(), Counter({("/markets", 200): 3}), {("what", "/route"): 1}, None, told)


def names_in(text: bytes) -> set[str]:
    return set(re.findall(r"^(kalshi_bus_\w+)", text.decode(), re.MULTILINE))


@pytest.fixture(name="joined")
def _joined() -> Joined:
    return Joined(ManualClock())


def tell(joined: Joined, **members: Any) -> dict[str, Any]:
    answers = Answers(lambda: None)
    answers.add("metrics", joined.answer, "process", "figures")
    return decode_map(answers.answer(encode_map({"op": "metrics", "id": 1, **members}), 0)[0], dict[str, Any])


def test_what_is_told_is_joined_with_whose_it_is_and_forgotten_after_a_while() -> None:
    clock = ManualClock()
    joined = Joined(clock)
    assert tell(joined, process="trader", figures=[["trader_fills", [], 3], ["trader_orders", ["open"], 1]])[
        "ok"
    ]
    assert tell(joined, process="ui", figures=[["ui_event_streams", [], 2]])["ok"]
    text = text_of(joined.figures()).decode()
    assert 'kalshi_bus_trader_fills_total{process="trader"} 3.0' in text
    assert 'kalshi_bus_trader_orders{process="trader",state="open"} 1.0' in text
    assert 'kalshi_bus_ui_event_streams{process="ui"} 2.0' in text
    tell(joined, process="trader", figures=[["trader_fills", [], 4]])
    assert "trader_orders{" not in text_of(joined.figures()).decode()
    clock.advance(FORGOTTEN_MS + 1)
    assert joined.figures() == []


@pytest.mark.parametrize(
    "members",
    [
        {}, {"process": "x"}, {"process": "", "figures": []}, {"process": "x" * 500, "figures": []},
        {"process": "\x00", "figures": []}, {"process": 1, "figures": []}, {"process": "x", "figures": None},
        {"process": "x", "figures": [["trader_fills", [], "many"]]}, {"process": "x", "figures": [[]]},
        {"process": "x", "figures": [["trader_fills", [], 1]] * (FIGURES_MOST + 1)},
        {"process": "x", "figures": [["trader_fills", [], None]]}, {"process": "x", "figures": {"a": 1}},
        {"process": "x", "figures": [], "more": 1},
    ],
)  # fmt: skip
def test_what_is_no_telling_is_refused(joined: Joined, members: dict[str, Any]) -> None:
    answer = tell(joined, **members)
    assert (answer["ok"], answer["error"]["code"]) == (False, "bad_request")
    assert joined.figures() == []


def test_figures_that_nobody_knows_cost_themselves_only_and_text_is_escaped(joined: Joined) -> None:
    odd = [["nothing_known", [], 1], ["trader_fills", ["a label too many"], 1], ["trader_refusals", [], 1],
           ["trader_refusals", ['a "b"\n\\c' + "x" * 500], 1], ["trader_fills", [], float("nan")],
           ["trader_positions", [], 2**53]]  # fmt: skip
    assert tell(joined, process='"evil"', figures=odd)["ok"]
    assert {figure.name for _, figure in joined.figures()} == {
        "trader_refusals",
        "trader_fills",
        "trader_positions",
    }
    text = text_of(joined.figures()).decode()
    assert all(line.startswith(("#", "kalshi_bus_")) for line in text.splitlines())


def test_processes_without_end_are_bounded(joined: Joined) -> None:
    for number in range(PROCESSES_MOST * 2):
        tell(joined, process=f"p{number}", figures=[["trader_fills", [], 1]])
    assert len(joined.figures()) == PROCESSES_MOST


def test_all_that_processes_tell_is_known(tmp_path: Path) -> None:
    settings = Settings.load({}, tmp_path)
    settings.data_dir.mkdir()
    told = [
        *process_figures(), *disk_figures(settings),
        *trader_figures(example(TraderStatus)), *gateway_figures(example(GatewayStatus)),
    ]  # fmt: skip
    for figure in told:
        assert len(figure.labels) == len(METRICS[figure.name].labels), figure
    names = {figure.name for figure in told}
    assert {
        name for name in METRICS if name.startswith(("trader_", "gateway_", "process_", "disk_"))
    } <= names


def test_the_disk_is_told_by_what_uses_it(tmp_path: Path) -> None:
    settings = Settings.load({}, tmp_path)
    for name in ("recording/1.mcap", "history/x/1", "trader-paper-sim-paper.sqlite-wal", "curve/clients"):
        path = settings.data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 10_000)
    sizes = {
        figure.labels[0]: figure.value
        for figure in disk_figures(settings)
        if figure.name == "disk_used_bytes"
    }
    assert all(sizes[use] >= 10_000 for use in ("recording", "history", "journals", "other"))
    assert sizes["logs"] == 0


@pytest.mark.slow
def test_a_process_tells_over_the_query_socket(zmq_context: Context, short_dir: Path) -> None:
    settings = Settings.load({"KALSHI_BUS_RUN_DIR": str(short_dir)}, short_dir)
    joined, stop = Joined(ManualClock()), Stop()
    answers = Answers(lambda: None)
    answers.add("metrics", joined.answer, "process", "figures")
    server = QueryServer(zmq_context, settings.query, answers, lambda: 0)
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()

    def figures(_asker: Asker) -> Iterator[Figure]:
        yield Figure("recorder_messages", (), 7)

    try:
        with Telling(zmq_context, settings, "recorder", figures).while_running(stop):
            found = eventually(joined.figures)
        assert ("recorder", Figure("recorder_messages", (), 7.0)) in found
        assert any(figure.name == "process_resident_memory_bytes" for _, figure in found)
    finally:
        stop.set()
        thread.join()
        stop.close()


# -- ops/


def rules_of() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = yaml.safe_load((OPS / "alerts.yml").read_text())["groups"][0]["rules"]
    return rules


def drawn() -> list[str]:
    """Every query of the dashboard."""
    panels = json.loads((OPS / "grafana-dashboard.json").read_text())["panels"]
    return [one["expr"] for panel in panels for one in panel["targets"]]


def test_rules_and_dashboard_ask_for_metrics_that_exist() -> None:
    known = names_in(text_of(everything()))
    asked = set(re.findall(r"kalshi_bus_\w+", " ".join([*drawn(), *(rule["expr"] for rule in rules_of())])))
    assert asked <= known
    assert len(asked) > 30


def test_every_alert_says_what_to_do() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    for rule in rules_of():
        assert f"### {rule['alert']}\n" in text, rule["alert"]
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


@contextmanager
def served(text: bytes) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def prometheus(runner: Runner, target: int) -> tuple[Process, str]:
    """Start a Prometheus by the example's configuration, that asks `target` often."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip(
            "prometheus is not installed (apt-get install prometheus): rules are checked by name only"
        )
    checked = subprocess.run(
        ["promtool", "check", "config", str(OPS / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    text = (OPS / "prometheus.yml").read_text()
    text = text.replace("127.0.0.1:5002", f"127.0.0.1:{target}").replace("15s", "1s")
    text = text.replace("- alerts.yml", f"- {OPS / 'alerts.yml'}")
    (runner.folder / "prometheus.yml").write_text(text)
    (port,) = free_ports(1)
    process = runner.start_command([
        "prometheus", f"--config.file={runner.folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={runner.folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}",
    ])  # fmt: skip
    return process, f"http://127.0.0.1:{port}"


def asked(url: str, path: str, **query: str) -> Any:
    try:
        with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(query)}", timeout=5) as reply:
            return json.load(reply)["data"]
    except OSError:
        return None


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_a_real_prometheus_answers_every_query_and_evaluates_every_rule(runner: Runner) -> None:
    with served(text_of(everything())) as target:
        process, url = prometheus(runner, target)

        def scraped() -> Any:
            assert process.popen.poll() is None, process.output()
            found = asked(url, "/api/v1/query", query="count_over_time(kalshi_bus_seq[1m]) >= 3")
            return found and found["result"]

        eventually(scraped, 60, "it has asked three times")
        for expression in drawn():
            found = asked(url, "/api/v1/query", query=expression)
            assert found is not None, expression
            assert found["result"], f"nothing is drawn of {expression}"

        def evaluated() -> Any:
            rules = asked(url, "/api/v1/rules")["groups"][0]["rules"]
            return rules if all(rule["health"] != "unknown" for rule in rules) else None

        rules = eventually(evaluated, 60, "all rules are evaluated")
        assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}
        assert len(rules) == len(rules_of())
        firing = {rule["name"] for rule in rules if rule["state"] != "inactive"}
        assert "KalshiBusTraderKilled" in firing, "an alert of what is told fires"
        assert "KalshiBusProcessDown" not in firing
