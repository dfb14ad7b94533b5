"""`/metrics`: the health of data, feed and server in Prometheus' text format."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bus.health import HealthAnswer
from bus.metrics import METRICS, Figure
from bus.protocol.join import Stats
from bus.protocol.messages import PublisherHealth

from .websocket.figures import Figures

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_GAUGES: Final = {
    "age_seconds": "Seconds since the end of the last complete sweep's fetch.",
    "market_count": "Markets served.",
    "enriched_count": "Markets served with an order book.",
    "quarantined_count": "Records the last sweep kept out because they cannot be trusted.",
    "unjoined_count": "Markets the last sweep kept out because their event is unknown.",
    "epoch": "Epoch of the state served.",
    "seq": "Sequence number of the state served.",
    "proven_seq": "Last sequence number at which the whole was found to be the publisher's, by digest.",
}
_COUNTERS: Final = {
    "messages": "Feed messages heard.",
    "duplicates": "Feed messages heard again.",
    "undecodable": "Feed frames or answers that were no message of the protocol.",
    "unknown_kinds": "Messages of kinds this build does not know.",
    "gaps": "Times something was found missing.",
    "resyncs": "Times what was missing was repaired.",
    "epochs": "Epochs followed.",
    "asks": "Snapshots asked for.",
    "digest_mismatches": "Stream digests that differed from the publisher's.",
    "digests_compared": "Stream digests compared with the publisher's.",
}
_WEBSOCKET_GAUGES: Final = {
    "clients": "WebSocket clients.",
    "subscriptions": "Their subscriptions.",
    "waiting_bytes": "What waits for them to take it.",
}
_WEBSOCKET_COUNTERS: Final = {
    "frames": "Data frames sent to WebSocket clients.",
    "overflows": "Subscriptions that ended with error 25, since their client was too slow.",
    "connections": "WebSocket clients so far.",
}
_PREFIX: Final = "kalshi_bus_"


class _Reading(Collector):
    def __init__(
        self,
        health: HealthAnswer,
        stats: Stats,
        requests: Mapping[tuple[str, int], int],
        drift: Mapping[tuple[str, str], int],
        websocket: Figures | None,
        told: Sequence[tuple[str, Figure]],
    ) -> None:
        self._told = told
        self._websocket = websocket
        self._health = health
        self._stats = stats
        self._requests = requests
        self._drift = drift

    def _of_processes(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for process, figure in self._told:
            metric = METRICS[figure.name]
            if figure.name not in families:
                family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                labels = ("process", *metric.labels)
                families[figure.name] = family(_PREFIX + figure.name, metric.help, labels=labels)
            families[figure.name].add_metric((process, *figure.labels), figure.value)
        return families.values()

    def _of_publisher(self, publisher: PublisherHealth) -> Iterable[Metric]:
        for name, text, value in (
            ("exchange_reachable", "1 while the exchange answers.", publisher.exchange_reachable),
            ("key_refused", "1 while the exchange refuses the key.", publisher.key == "refused"),
            ("failing", "1 while something is wrong with what it reads.", publisher.error is not None),
            ("stream_live", "1 while its WebSocket is live.", publisher.stream == "live"),
            ("stream_books", "Order books that it follows and knows to be right.", publisher.stream_books),
            ("stream_unsure", "Order books not known to be right.", publisher.stream_unsure),
            ("failing_routes", "Routes without prices that fail.", len(publisher.routes)),
            ("warnings", "Things that are wrong and stop nothing.", len(publisher.warnings)),
        ):
            yield GaugeMetricFamily(f"{_PREFIX}publisher_{name}", text, float(value))
        for name, text, count in (
            ("stream_gaps", "Times frames of the WebSocket were missing.", publisher.stream_gaps),
            ("stream_reconnects", "Times it connected again.", publisher.stream_reconnects),
            ("stream_bad", "Frames that could not be read.", publisher.stream_bad),
        ):
            yield CounterMetricFamily(f"{_PREFIX}publisher_{name}", text, count)

    def collect(self) -> Iterable[Metric]:
        health = self._health
        for name, text in _GAUGES.items():
            value: float | None = getattr(health, name)
            if value is not None:
                yield GaugeMetricFamily(_PREFIX + name, text, value)
        yield GaugeMetricFamily(
            _PREFIX + "stale",
            "1 while the data is too old or absent.",
            float(health.status in ("stale", "starting")),
        )
        yield GaugeMetricFamily(
            _PREFIX + "feed_live",
            "1 while the feed is followed without a gap.",
            float(health.feed == "live"),
        )
        resyncing = health.resyncing
        yield GaugeMetricFamily(
            _PREFIX + "resyncing", "1 while something lost is being fetched.", float(resyncing is not None)
        )
        yield GaugeMetricFamily(
            _PREFIX + "resyncing_seconds", "For how long.", 0.0 if resyncing is None else resyncing.seconds
        )
        yield GaugeMetricFamily(
            _PREFIX + "resyncing_behind_messages",
            "How many messages what is served lacks meanwhile, as far as known.",
            0 if resyncing is None else resyncing.behind or 0,
        )
        yield GaugeMetricFamily(
            _PREFIX + "degraded_streams", "Streams that could not be repaired.", len(health.degraded)
        )
        stats = msgspec.structs.asdict(self._stats)
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"{_PREFIX}feed_{name}", text, stats[name])
        answers = CounterMetricFamily(
            _PREFIX + "http_answers", "HTTP answers by route and status.", labels=("route", "status")
        )
        for (route, status), count in sorted(self._requests.items()):
            answers.add_metric((route, str(status)), count)
        yield answers
        drifted = GaugeMetricFamily(
            _PREFIX + "drift",
            "Times a member of the exchange's JSON was otherwise than documented.",
            labels=("what", "route"),
        )
        for labels, count in sorted(self._drift.items()):
            drifted.add_metric(labels, count)
        yield drifted
        up = GaugeMetricFamily(
            _PREFIX + "process_up", "1 while supervisord says RUNNING.", labels=("process",)
        )
        restarts = CounterMetricFamily(
            _PREFIX + "process_restarts", "Times a process ended by itself.", labels=("process",)
        )
        for name, process in (health.processes or {}).items():
            up.add_metric((name,), float(process.state == "RUNNING"))
            restarts.add_metric((name,), process.restarts)
        yield from (up, restarts)
        if health.publisher is not None:
            yield from self._of_publisher(health.publisher)
        yield from self._of_processes()
        websocket = self._websocket or Figures()
        for name, text in _WEBSOCKET_GAUGES.items():
            yield GaugeMetricFamily(f"{_PREFIX}websocket_{name}", text, getattr(websocket, name))
        for name, text in _WEBSOCKET_COUNTERS.items():
            yield CounterMetricFamily(f"{_PREFIX}websocket_{name}", text, getattr(websocket, name))


def exposition(
    health: HealthAnswer,
    stats: Stats,
    requests: Mapping[tuple[str, int], int],
    drift: Mapping[tuple[str, str], int],
    websocket: Figures | None,
    told: Sequence[tuple[str, Figure]] = (),
) -> bytes:
    """Return the text of `/metrics`; `drift` by (what, route), `websocket` None before its first client.

    `told` is what processes have told of themselves (bus/metrics.py).
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reading(health, stats, dict(requests), drift, websocket, told))
    return generate_latest(registry)
