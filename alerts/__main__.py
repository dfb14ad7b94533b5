"""``python -m alerts``."""

import sys

from bus.process.lifecycle import main, no_arguments

from .run import run

if __name__ == "__main__":
    no_arguments("alerts", "Judges rules on the feed and the trader, and sends alerts (docs/alerts.md).")
    sys.exit(main("alerts", run))
