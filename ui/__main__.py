"""``python -m ui``: the dashboard on 127.0.0.1, port KALSHI_BUS_UI_PORT."""

import sys

from bus.process.lifecycle import main, no_arguments

from .run import run

if __name__ == "__main__":
    no_arguments("ui", "The dashboard.")
    sys.exit(main("ui", run))
