"""Record, replay, look at and export the feed; what keeps a desk going: doctor, backup, keys."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bus.process.lifecycle import Stop, main, quietly, refuse
from bus.process.programs import explain_each, name_of
from bus.process.settings import Settings
from bus.tape.export import Part
from bus.tools.doctor import run as doctor
from markets.errors import SettingsError, StartupError
from markets.texts import utf8

from .tools import commands, keys

Run = Callable[[Settings, Stop], int]


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog=name_of("bus"), description=__doc__)
    ops = root.add_subparsers(dest="op", required=True, metavar="COMMAND")

    record = ops.add_parser("record", help="record the feed into a folder until Ctrl-C")
    record.add_argument(
        "folder",
        type=Path,
        nargs="?",
        help="a new one, or one with a recording to go on with; by default the one in the data directory, "
        "which is kept within its budget",
    )

    replay = ops.add_parser("replay", help="play a recording on the publisher's sockets")
    replay.add_argument("file", type=Path, help="a recording")
    replay.add_argument("--speed", type=commands.speed, default=1.0, help="a factor, or max (default 1)")
    _add_span(replay)
    replay.add_argument(
        "--at", metavar="TIME", type=commands.past_moment, help="stand still then: a time, or EPOCH:SEQ"
    )
    replay.add_argument("--paused", action="store_true", help="stand at the beginning until told to go on")

    control = ops.add_parser("control", help="tell a running replay what to do")
    control.add_argument("action", choices=("status", "pause", "resume", "seek", "speed"), help="what to do")
    control.add_argument("value", nargs="?", help="time of a seek, factor of a speed")

    info = ops.add_parser("info", help="say what is in a recording, and whether it is whole")
    info.add_argument("file", type=Path, help="a recording")

    verify = ops.add_parser("verify", help="prove a recording, or name the first message that is wrong")
    verify.add_argument("file", type=Path, help="a recording")

    export = ops.add_parser("export", help="write a recording's records, a file per kind")
    export.add_argument("file", type=Path, help="a recording")
    export.add_argument("folder", type=Path, help="where the tables go; made if it is not there")
    export.add_argument("--format", choices=("csv", "parquet"), default="csv", help="(%(default)s)")
    export.add_argument(
        "--kind", action="append", help="only this kind of record, such as quote; may be given again"
    )
    _add_span(export)
    for name in ("market", "event", "series"):
        export.add_argument(
            f"--{name}", action="append", default=[], help=f"only of this {name}; may be given again"
        )
    export.add_argument(
        "--step", metavar="SECONDS", type=commands.step_s, help="also order books, one in so many seconds"
    )

    load = ops.add_parser("import", help="make a recording of Kalshi's own WebSocket frames (NDJSON)")
    load.add_argument("frames", type=Path, help="what was recorded; .gz is unpacked")
    load.add_argument("file", type=Path, help="the recording to make")
    load.add_argument(
        "--use-yes-price",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether the recorder subscribed with use_yes_price, so that NO levels are on the scale of YES; "
        "auto (the default) tells it by the books",
    )

    tap = ops.add_parser("tap", help="print the feed, a line of JSON per record")
    tap.add_argument(
        "prefix", nargs="*", default=[""], type=utf8, help="how topics to print begin; all by default"
    )

    ops.add_parser("forward", help="pass feed and answers on to other machines, over TCP with CURVE")
    known = ops.add_parser("keys", help="make, list and revoke the keys of other machines (docs/remote.md)")
    does = known.add_subparsers(dest="keys_op", required=True, metavar="WHAT")
    made = does.add_parser("make", help="make NAME's key file; where the forwarder is, let it in, too")
    made.add_argument("name", metavar="NAME", help="whose key it is")
    made.add_argument("--to", metavar="FILE", type=Path, help="the file (default NAME.key)")
    made.add_argument(
        "--server", metavar="KEY", help="public key of a forwarder elsewhere, which is to allow it"
    )
    allowed = does.add_parser("allow", help="let in a key that was made elsewhere")
    allowed.add_argument("name", metavar="NAME", help="whose key it is")
    allowed.add_argument("key", metavar="KEY", help="its public key, 40 characters")
    revoked = does.add_parser("revoke", help="let NAME in no more, and end its connections")
    revoked.add_argument("name", metavar="NAME", help="whose key it is")
    does.add_parser("list", help="show the forwarder's public key, and who is let in")
    does.add_parser("renew", help="make the forwarder a new key: every client needs the new public key")
    explain_each(does)

    backup = ops.add_parser("backup", help="copy what must not be lost, while it runs")
    backup.add_argument("folder", type=Path, help="where the backup goes; made if it is not there")
    backup.add_argument("--recording", action="store_true", help="copy the recording, too")
    backup.add_argument("--replace", action="store_true", help="replace an older backup there")
    restore = ops.add_parser("restore", help="put a backup in its place, while nothing runs")
    restore.add_argument("folder", type=Path, help="a backup")
    token = ops.add_parser("token", help="make a token file, for pages off loopback (docs/remote.md)")
    token.add_argument("file", type=Path, help="a new file, for KALSHI_BUS_TOKEN_FILE")

    ops.add_parser("doctor", help="explain what is wrong")
    ops.add_parser("config", help="print every setting that holds, and where it was set")
    explain_each(ops)
    return root


def _add_span(command: argparse.ArgumentParser) -> None:
    for name, dest, word in (("--from", "begin_ms", "begin"), ("--to", "end_ms", "end")):
        text = f"{word} at this time (UTC), such as 2026-11-29T09:30:00, or ms since 1970"
        command.add_argument(name, dest=dest, metavar="TIME", type=commands.time_ms, help=text)


def _part(args: argparse.Namespace) -> Part:
    named = frozenset(args.market), frozenset(args.event), frozenset(args.series)
    return Part(args.kind, args.begin_ms, args.end_ms, *named, args.step)


def _main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    offline: dict[str, Callable[[], int]] = {
        "info": lambda: commands.info(args.file),
        "verify": lambda: commands.verify_recording(args.file),
        "export": lambda: commands.export(args.file, args.folder, args.format, _part(args)),
        "config": lambda: commands.config(os.environ, Path.cwd()),
        "keys": lambda: keys.run(lambda: Settings.load(os.environ, Path.cwd()), args),
        "backup": lambda: commands.backup(
            os.environ, Path.cwd(), args.folder, recording=args.recording, replace=args.replace
        ),
        "restore": lambda: commands.restore(os.environ, Path.cwd(), args.folder),
        "token": lambda: commands.token(args.file),
        "import": lambda: commands.import_frames(args.frames, args.file, args.use_yes_price),
    }
    if args.op in offline:
        try:
            return offline[args.op]()
        except (SettingsError, StartupError) as error:
            return refuse(args.op, error)
    if args.op == "doctor":
        return doctor(dict(os.environ), Path.cwd())
    online: dict[str, tuple[str, Run]] = {
        "forward": ("forwarder", commands.forward),
        "record": ("recorder", lambda settings, stop: commands.record(settings, stop, args.folder)),
        "replay": (
            "replay",
            lambda settings, stop: commands.replay(
                settings,
                stop,
                args.file,
                args.speed,
                args.begin_ms,
                args.end_ms,
                paused=args.paused,
                at=args.at,
            ),
        ),
    }
    if args.op in online:
        process, run = online[args.op]
        return main(process, run, exclusive=args.op == "forward")
    quiet: dict[str, Run] = {  # their output is for pipes: no log in it
        "control": lambda settings, _stop: commands.control(settings, args.action, args.value),
        "tap": lambda settings, stop: commands.tap(settings, stop, args.prefix),
    }
    stop = Stop()
    try:
        with stop.on_signals():
            return quiet[args.op](Settings.load(os.environ, Path.cwd()), stop)
    except (SettingsError, StartupError) as error:
        return refuse(args.op, error)
    finally:
        stop.close()


if __name__ == "__main__":
    sys.exit(quietly(lambda: _main(sys.argv[1:])))
