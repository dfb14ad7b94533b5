"""``python -m alerts``."""

import sys

from bus.process.lifecycle import main, no_arguments

from .run import run

if __name__ == "__main__":
    no_arguments("alerts", "Judges rules on feed and trader, and tells whom it may concern (docs/alerts.md).")
    sys.exit(main("alerts", run))
