"""``python -m trader`` trades, as supervisord starts it; with arguments it is ``kalshi-bus trader``."""

import sys

from bus.process.lifecycle import main, quietly

from .command import command
from .run import live

if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(quietly(lambda: command(arguments)) if arguments else main("trader", live))
