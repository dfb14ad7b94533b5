"""Store the feed in a NATS JetStream, such as nats://localhost:4222. docs/bridge.md."""

import argparse
import random
import sys

from bus.clock import SystemClock
from bus.jetstream.stored import address_of
from bus.metrics import Telling
from bus.process.lifecycle import Stop, main, quietly, refuse
from bus.process.programs import name_of
from bus.process.settings import Settings
from bus.sockets import make_context
from markets.errors import StartupError


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog=name_of("bridge"), description=__doc__)
    root.add_argument("address", help="nats://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][/STREAM]; also tls://")
    root.add_argument(
        "--replicas", type=int, default=1, help="how many servers of a cluster keep it (default 1)"
    )
    root.add_argument(
        "--max-gb", type=float, default=10.0, help="keep at most so much: the oldest gives way (default 10)"
    )
    root.add_argument("--max-hours", type=float, default=24.0, help="keep it for so long (default 24)")
    return root


def _main(argv: list[str]) -> int:
    args = parser().parse_args(argv)

    def run(settings: Settings, stop: Stop) -> int:
        from .run import Bridge
        from .store import Limits

        limits = Limits(args.replicas, int(args.max_gb * 1e9), args.max_hours * 3_600)
        context = make_context(settings.curve_key)
        try:
            bridge = Bridge(
                context, settings.feed, settings.query, address, SystemClock(), random.Random(), limits
            )
            with Telling(context, settings, "bridge", lambda _asker: bridge.figures()).while_running(stop):
                bridge.run(stop)
        finally:
            context.term()
        return 0

    try:
        address = address_of(args.address)
    except StartupError as error:
        return refuse("bridge", error)
    return main("bridge", run, exclusive=False)


if __name__ == "__main__":
    sys.exit(quietly(lambda: _main(sys.argv[1:])))
