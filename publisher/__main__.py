"""Entry point: ``python -m publisher``."""

import sys

from bus.process.lifecycle import main

from .run import run

if __name__ == "__main__":
    sys.exit(main("publisher", run))
