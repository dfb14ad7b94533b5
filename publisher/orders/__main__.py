"""Entry point: ``python -m publisher.orders``."""

import sys

from bus.process.lifecycle import main, no_arguments

from .run import run

if __name__ == "__main__":
    no_arguments("publisher.orders", "Sends the trader's orders to the exchange: the order gateway.")
    sys.exit(main("orders", run))
