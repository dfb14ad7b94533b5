"""``python -m snapshot_server.websocket PARENT DESCRIPTOR FIGURES``: begun by the snapshot server only."""

import sys
from functools import partial

from bus.process.child import die_with_parent
from bus.process.lifecycle import main

from .figures import Board
from .run import run

if __name__ == "__main__":
    if len(sys.argv) != 4 or not all(argument.isdecimal() for argument in sys.argv[1:]):
        sys.stderr.write(
            "usage: python -m snapshot_server.websocket PARENT DESCRIPTOR FIGURES, as the snapshot server "
            "begins it\n"
        )
        sys.exit(2)
    parent, descriptor, figures = map(int, sys.argv[1:])
    die_with_parent(parent)
    sys.exit(main("websocket", partial(run, descriptor, Board(figures)), exclusive=False))
