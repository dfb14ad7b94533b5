"""The console command ``kalshi-bus``: each word runs the module that ``python -m`` runs."""

import difflib
import runpy
import sys
from typing import Final, NamedTuple

from bus.process.programs import DOCS
from bus.process.streams import open_missing
from kalshi_bus import __version__


class Command(NamedTuple):
    """A word of the command line.

    Attributes:
        module: the module to run.
        words: arguments that precede the user's.
        name: the program's name in usage lines.
        text: what it does, for people.
    """

    module: str
    words: tuple[str, ...]
    name: str
    text: str


def _of_bus(word: str, text: str) -> Command:
    return Command("bus", (word,), "kalshi-bus", text)


COMMANDS: Final = {
    "run": Command("bus.process.supervise", (), "kalshi-bus run", "start everything; Ctrl-C stops it"),
    "doctor": _of_bus("doctor", "explain what is wrong"),
    "config": _of_bus("config", "print every setting that holds, and where it was set"),
    "tap": _of_bus("tap", "print the feed, a line of JSON per record"),
    "record": _of_bus("record", "record the feed into a folder until Ctrl-C"),
    "replay": _of_bus("replay", "play a recording on the publisher's sockets"),
    "control": _of_bus("control", "tell a running replay what to do"),
    "info": _of_bus("info", "say what is in a recording, and whether it is whole"),
    "verify": _of_bus("verify", "prove a recording, or name the first message that is wrong"),
    "export": _of_bus("export", "write a recording's records as CSV or Parquet"),
    "import": _of_bus("import", "make a recording of Kalshi's own WebSocket frames"),
    "forward": _of_bus("forward", "pass feed and answers on to other machines"),
    "keys": _of_bus("keys", "make, list and revoke the keys of other machines"),
    "backup": _of_bus("backup", "copy what must not be lost, while it runs"),
    "restore": _of_bus("restore", "put a backup in its place, while nothing runs"),
    "token": _of_bus("token", "make a token file, for pages off loopback"),
    "trader": Command("trader", (), "kalshi-bus trader", "its status, pause, orders by hand, reports"),
    "backtest": Command(
        "laboratory", ("run",), "kalshi-bus backtest", "run an idea over simulated days or recordings"
    ),
    "laboratory": Command("laboratory", (), "kalshi-bus laboratory", "compare backtests, judge a fill model"),
    "mcp": Command("agent_server", (), "kalshi-bus mcp", "answer agents (Model Context Protocol, stdio)"),
    "bridge": Command("bridge", (), "kalshi-bus bridge", "store the feed in a NATS JetStream"),
    "probe": Command(
        "publisher.orders.probe", (), "kalshi-bus probe", "try out what Kalshi's documents leave open"
    ),
}

USAGE: Final = "usage: kalshi-bus COMMAND [ARGUMENT...]"


def _help() -> str:
    rows = [f"  {name:<12} {command.text}" for name, command in COMMANDS.items()]
    rows.append(f"  {'completion':<12} print the completion script of a shell: bash, zsh or fish")
    more = "kalshi-bus COMMAND --help says more of one; kalshi-bus --version names this version."
    where = [f"What messages call docs/ is the folder {DOCS}"] if DOCS.is_dir() else []
    return "\n".join([USAGE, "", *rows, "", more, *where])


def main(arguments: list[str] | None = None) -> int | None:
    """Run what the command line names, as ``python -m`` would; exits with 2 if it names nothing."""
    open_missing()
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help"):
        print(_help(), file=sys.stdout if given else sys.stderr)
        return 0 if given else 2
    word, *rest = given
    if word in ("-V", "--version"):
        print(f"kalshi-bus {__version__}")
        return 0
    if word == "completion":
        from kalshi_bus.completion import script

        return script(rest)
    command = COMMANDS.get(word)
    if command is None:
        close = difflib.get_close_matches(word, [*COMMANDS, "completion"], 1)
        hint = f": did you mean {close[0]}?" if close else ""
        print(f"{USAGE}\nkalshi-bus: error: no command {word!r}{hint}", file=sys.stderr)
        return 2
    if command.module == "trader" and not rest:
        rest = ["--help"]  # without a command it would trade, which is for supervisord
    sys.argv = [command.name, *command.words, *rest]
    try:
        runpy.run_module(command.module, run_name="__main__")
    except KeyboardInterrupt:  # before the program could hear of it, such as while it is imported
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
