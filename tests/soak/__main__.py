"""``python -m tests.soak [NAME] [--seconds N] [--seed N]``: what the tests check, with very many seeds.

The counts are in ``.soak/NAME.json`` and add up over runs: a run begins where the last one ended, interrupted
or not. Ends with 1 when a seed has failed. Without a name: which there are, and what has been done.
"""

import argparse
import logging
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial

import structlog

import tests.conftest  # noqa: F401 -- Hypothesis's settings
from tests.soak.driver import Account, AlreadyRunning, Run, hold, one, soak
from tests.soak.targets import TARGETS
from tests.support import ROOT

FOLDER = ROOT / ".soak"

say = partial(print, flush=True)


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="make soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", nargs="?", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=float, default=600, help="begin no new seed after this (600)")
    parser.add_argument("--seed", type=int, help="only this seed, with its log, outside the count")
    options = parser.parse_args(arguments)
    if options.name is None:
        listed()
        return 0
    name, target = options.name, TARGETS[options.name]
    if options.seed is not None:
        held = one(name, target, options.seed, say)
        if held is not None:
            say(f"{name}: seed {options.seed} held, {held:,} {target.unit}")
        return held is None
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    path = FOLDER / f"{name}.json"
    run = Run(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", revision())
    try:
        with hold(path):
            return not soak(name, target, path, options.seconds, run, time.monotonic, say)
    except AlreadyRunning as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say(f"{name}: interrupted; what was done is in {path.relative_to(ROOT)}")
        return 130


def listed() -> None:
    """Say what can be soaked, and what has been."""
    for name, target in sorted(TARGETS.items()):
        account = Account.load(FOLDER / f"{name}.json")
        total = account.total()
        done = f"{total.checked:,} {target.unit} so far, {len(account.failed)} seeds failed"
        say(f"{name:10} {target.about}: {done}")


def revision() -> str:
    """Return git's short name of the code, with + if it has been changed since; empty without git."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return said.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
