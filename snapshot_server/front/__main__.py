"""``python -m snapshot_server.front PARENT LISTENER STREAM PACKETS``: begun by the snapshot server."""

import sys
from functools import partial

from bus.process.child import die_with_parent
from bus.process.lifecycle import main

from .run import DESCRIPTORS, run

if __name__ == "__main__":
    arguments = sys.argv[1:]
    if len(arguments) != 1 + DESCRIPTORS or not all(argument.isdecimal() for argument in arguments):
        sys.stderr.write(
            "usage: python -m snapshot_server.front PARENT LISTENER STREAM PACKETS, as the snapshot server "
            "begins it\n"
        )
        sys.exit(2)
    parent, listener, stream, packets = map(int, arguments)
    die_with_parent(parent)
    sys.exit(main("http", partial(run, (listener, stream, packets)), exclusive=False))
