"""Entry point: ``python -m publisher``."""

import sys

from bus.process.lifecycle import main, no_arguments

from .run import run

if __name__ == "__main__":
    no_arguments("publisher", "Reads the exchange and publishes what it says.")
    sys.exit(main("publisher", run))
