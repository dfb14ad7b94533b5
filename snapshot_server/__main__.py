"""``python -m snapshot_server``."""

import sys

from bus.lifecycle import main

from .server import run

if __name__ == "__main__":
    sys.exit(main("snapshot_server", run))
