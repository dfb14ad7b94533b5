"""``kalshi-bus keys``: the keys by which machines know each other. docs/remote.md."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bus.curve import Keyring, Pair, check_key, check_name, write_keys
from bus.process.echo import shown_path
from bus.process.locks import private_dir
from bus.process.programs import to_type
from bus.process.settings import Settings


def run(load: Callable[[], Settings], args: argparse.Namespace) -> int:
    """Carry out one command on the keyring in the data directory; return the exit code.

    Args:
        load: loads the settings. A key for a forwarder elsewhere is made without them: they may depend on it.

    Raises:
        StartupError: a name, a key or a file cannot be used.
        SettingsError: as `load`.
    """
    if args.keys_op == "make" and args.server is not None:
        _make_for(check_key(args.server, "--server"), check_name(args.name), args.to)
        return 0
    settings = load()
    keyring = Keyring(settings.keyring)
    if args.keys_op == "make":
        private_dir(settings.data_dir)
        _make(keyring, check_name(args.name), args.to)
    elif args.keys_op == "allow":
        private_dir(settings.data_dir)
        keyring.make_server()
        keyring.allow(check_name(args.name), check_key(args.key, "KEY"))
        _say(f"{args.name} is let in from now on")
    elif args.keys_op == "revoke":
        keyring.revoke(args.name)
        _say(f"{args.name} is let in no more: within a second a running forwarder ends its connections")
    elif args.keys_op == "renew":
        pair = keyring.make_server(anew=True)
        _say(f"new key of the forwarder, from its next start on: {pair.public.decode()}")
        _say("in the key file of everybody who is let in: put it in the place of the server-key")
    else:
        _say(f"forwarder {keyring.server().public.decode()}")
        for key, name in keyring.clients().items():
            _say(f"client    {key.decode()} {name}")
    return 0


def _make_for(server: bytes, name: str, to: Path | None) -> None:
    path, pair = to or Path(f"{name}.key"), Pair.make()
    write_keys(path, pair, server)
    allow = f"{to_type('keys allow')} {name} '{pair.public.decode()}'"
    _say(f"{shown_path(path)} is made. Where the forwarder runs: {allow}")


def _make(keyring: Keyring, name: str, to: Path | None) -> None:
    path, pair = to or Path(f"{name}.key"), Pair.make()
    served = keyring.make_server()
    keyring.check_free(name)
    write_keys(path, pair, served.public)
    keyring.allow(name, pair.public)
    _say(
        f"{shown_path(path)} is made, and {name} is let in. Take the file there by a safe way (scp), and set"
    )
    _say(
        "KALSHI_BUS_CURVE_KEY to it, KALSHI_BUS_FEED and KALSHI_BUS_QUERY to tcp://HOST:PORT: docs/remote.md"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
