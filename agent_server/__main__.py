"""Answer agents on stdin and stdout, in the Model Context Protocol. docs/agents.md."""

import argparse
import os
import random
import sys
from importlib.util import find_spec
from pathlib import Path

from bus.clock import SystemClock
from bus.process.lifecycle import Stop, main, refuse
from bus.process.programs import name_of, to_install
from bus.process.settings import Settings
from bus.process.streams import open_missing
from bus.sockets import make_context
from markets.errors import StartupError


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog=name_of("agent_server"), description=__doc__)
    root.add_argument(
        "--folder",
        type=Path,
        help="folder where everything was started, with .run and kalshi-bus.toml (default: the current one)",
    )
    return root


def _run(settings: Settings, stop: Stop) -> int:
    from .serve import serve
    from .world import World

    context = make_context(settings.curve_key)
    try:
        world = World(settings, context, SystemClock(), random.Random())
        try:
            world.start()
            serve(world, stop)
        finally:
            world.stop()
    finally:
        context.term()
    return 0


def _main(argv: list[str]) -> int:
    open_missing()
    args = parser().parse_args(argv)
    if find_spec("mcp") is None:
        return refuse("mcp", StartupError(f"its library is not installed: {to_install('mcp')}"))
    if args.folder is not None:
        try:
            os.chdir(args.folder)
        except OSError as error:
            return refuse("mcp", StartupError(f"--folder: {args.folder}: {error.strerror}"))
    # stdout belongs to the protocol: a single log line there would make the client hang up.
    return main("mcp", _run, exclusive=False, log_to=sys.stderr)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
