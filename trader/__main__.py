"""``python -m trader`` trades; ``python -m trader COMMAND`` is for people: ``--help`` lists them."""

import sys

from bus.process.lifecycle import main

from .command import command
from .run import live

if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]) if sys.argv[1:] else main("trader", live))
