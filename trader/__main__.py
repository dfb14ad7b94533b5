"""``python -m trader`` trades; ``python -m trader COMMAND`` is for people: ``--help`` lists them."""

import sys

from bus.process.lifecycle import main, quietly

from .command import command
from .run import live

if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(quietly(lambda: command(arguments)) if arguments else main("trader", live))
