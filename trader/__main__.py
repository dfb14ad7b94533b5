"""``python -m trader``, and ``python -m trader status|pause|resume|kill|reconcile|verify`` for a person."""

import sys

from bus.process.lifecycle import main

from .command import command
from .run import run

if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]) if sys.argv[1:] else main("trader", run))
