"""``python -m snapshot_server``."""

import sys

from bus.process.lifecycle import main, no_arguments

from .run import run

if __name__ == "__main__":
    no_arguments("snapshot_server", "Answers over HTTP and the query socket from a replica of the feed.")
    sys.exit(main("snapshot_server", run))
