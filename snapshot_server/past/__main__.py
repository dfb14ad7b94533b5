"""``python -m snapshot_server.past``."""

import sys

from bus.process.lifecycle import main, no_arguments

from .run import run

if __name__ == "__main__":
    no_arguments("snapshot_server.past", "Answers over HTTP and a socket from what was recorded, as it was.")
    sys.exit(main("past", run))
