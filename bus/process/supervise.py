"""Starts everything, for ``make run``: checks the settings once, prints the addresses, becomes supervisord.

supervisord has no defaults for environment variables, so the settings that ``supervisord.conf`` needs are
handed over as SUPERVISE_* variables.
"""

import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bus.curve import Keyring
from bus.sockets import check_endpoint
from markets.errors import SettingsError, StartupError

from .access import local, read_token
from .certificate import files_of, read_certificate
from .lifecycle import no_arguments, refuse
from .locks import STACK, check_port, hold_data_dir, open_private_file, take_role, writable_dir
from .logs import hide
from .programs import command_of, environment_of, to_type
from .settings import Settings, variable_of

CHECK_S: Final = 60


def prepare(settings: Settings, token: str) -> dict[str, str]:
    """Make the directories, check places and key file, and return the variables of supervisord.conf.

    What is checked here would otherwise end a process over and over, each time a little later.

    Args:
        settings: what to start, and where; this process holds its role "kalshi-bus".
        token: password of supervisord's socket; left in ``supervisorctl.conf`` in the run directory.

    Raises:
        StartupError: a directory, a port, an endpoint or the key file cannot be used.
    """
    simulator, orders = settings.env == "sim", settings.mode != "paper"
    run_dir = writable_dir(settings.run_dir)
    logs = writable_dir(run_dir / "logs")
    with hold_data_dir(writable_dir(settings.data_dir)):
        pass
    if not simulator and settings.private_key_path is not None:
        # Only the publisher reads its content.
        os.close(open_private_file(settings.private_key_path, variable_of("private_key_path")))
    recorder = settings.record == "yes"
    ports = (
        "ui_port",
        "snapshot_port",
        *(["sim_port"] if simulator else []),
        *(["past_port"] if recorder else []),
    )
    read_token(settings)
    if (files := files_of(settings)) is not None:
        read_certificate(files)
    for key in ports:
        host = "127.0.0.1" if key == "sim_port" else settings.bind
        check_port(getattr(settings, key), variable_of(key), host)
    gateway = ("orders", "order_events") if orders else ()
    past = ("past",) if recorder else ()
    alerts = ("alerts_control",) if settings.alerts == "yes" else ()
    trader = ("trader_control", "trader_agents", "trader_events")
    for key in ("feed", "state", "query", *trader, *gateway, *past, *alerts):
        check_endpoint(key, getattr(settings, key))
    if settings.forward == "yes":
        Keyring(settings.keyring).server()
        for key in ("forward_feed", "forward_query"):
            host, _, port = getattr(settings, key).removeprefix("tcp://").rpartition(":")
            check_port(int(port), variable_of(key), host)
    control = str(run_dir / "supervisor.sock").replace("%", "%%")
    try:
        (run_dir / "supervisorctl.conf").write_text(
            f"[supervisorctl]\nserverurl=unix://{control}\nusername=kalshi-bus\npassword={token}\n"
        )
    except OSError as error:
        raise StartupError(f"{run_dir / 'supervisorctl.conf'}: {error.strerror}") from error
    return {
        "SUPERVISE_TOKEN": token,
        "SUPERVISE_FOLDER": str(Path.cwd()),
        "SUPERVISE_PYTHON": shlex.quote(sys.executable),
        "SUPERVISE_PID": str(os.getpid()),
        "SUPERVISE_RUN_DIR": str(run_dir),
        "SUPERVISE_KEYS": shlex.quote(str(run_dir)),
        "SUPERVISE_LOGS": str(logs),
        "SUPERVISE_LOGS_TWICE": str(logs).replace("%", "%%"),
        "SUPERVISE_SIMULATOR": str(simulator).lower(),
        "SUPERVISE_ORDERS": str(orders).lower(),
        "SUPERVISE_RECORDER": str(recorder).lower(),
        "SUPERVISE_FORWARD": str(settings.forward == "yes").lower(),
        "SUPERVISE_ALERTS": str(settings.alerts == "yes").lower(),
        "SUPERVISE_SIM_PORT": str(settings.sim_port),
        "SUPERVISE_SIM_MARKETS": str(settings.sim_markets),
        "SUPERVISE_SIM_SEED": str(settings.sim_seed),
    }


def check_trader(environ: Mapping[str, str], cwd: Path) -> None:
    """Have the trader load what it would trade with: only the trader knows how.

    Args:
        environ, cwd: where it would start.

    Raises:
        StartupError: the trader would refuse to start.
    """
    command = command_of("trader", "check")
    try:
        checked = subprocess.run(
            command,
            env=environment_of(environ),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=CHECK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StartupError(f"{to_type('trader check')}: no answer in {CHECK_S} s") from None
    if checked.returncode:
        raise StartupError(checked.stderr.strip().removeprefix("trader: ")[-2_000:])


def _announce(settings: Settings, logs: str) -> None:
    print(f"kalshi-bus: mode {settings.mode}, env {settings.env}. Ctrl-C stops everything.")
    host, headers = local(settings)
    print(f"  dashboard  http://{host}:{settings.ui_port}/")
    print(f"  markets    http://{host}:{settings.snapshot_port}/markets")
    print(f"  health     http://{host}:{settings.snapshot_port}/health")
    if settings.tls_certificate is not None:
        print(f"  TLS        the same by https:// and wss://, with {settings.tls_certificate}")
    if headers:
        print(f"  log in     with the token in {settings.token_file} (docs/remote.md)")
    print(f"  logs       {logs}")
    if settings.mode == "paper":
        print("  orders     none: filled here with play money, no order gateway runs")
    else:
        where = "the simulated exchange" if settings.env == "sim" else f"Kalshi ({settings.env}), real orders"
        print(f"  orders     to {where}: order gateway and watchdog run (docs/orders.md)")
    if settings.record == "yes":
        print(f"  recording  {settings.recording}, at most {settings.record_budget_gb:g} GB")
    if settings.alerts == "yes":
        print(f"  alerts     http://{host}:{settings.ui_port}/alerts")
    if settings.forward == "yes":
        print(f"  elsewhere  {settings.forward_feed}, {settings.forward_query}, with CURVE (docs/remote.md)")
    if settings.env == "sim" and settings.api_key_id:
        print(f"  note: {variable_of('api_key_id')} is set; unset it to sign with the simulator's own key")
    sys.stdout.flush()  # exec does not flush


def _tell_start(variables: Mapping[str, str]) -> None:
    """Start a process that reports on this terminal how the start goes, as long as there is a supervisord.

    It is nobody's child, so that supervisord, which this process becomes, has only the children it starts.
    """
    between = os.fork()
    if not between:
        command = command_of("bus.tools.first_start")
        subprocess.Popen(command, env=environment_of(os.environ | variables), stdin=subprocess.DEVNULL)
        os._exit(0)
    os.waitpid(between, 0)


def main() -> None:
    """Become supervisord, or say why not and exit with 2."""
    no_arguments("bus.process.supervise", "Starts everything; Ctrl-C stops it.")
    os.umask(0o077)  # for all files that any process makes
    try:
        settings = Settings.load(os.environ, Path.cwd())
        hide(settings.api_key_id)
        # Taken first and held until supervisord ends: a second one writes nothing.
        os.set_inheritable(take_role(writable_dir(settings.run_dir), STACK), True)
        variables = prepare(settings, secrets.token_hex(16))
        check_trader(os.environ, Path.cwd())
    except (SettingsError, StartupError) as error:
        sys.exit(refuse("kalshi-bus", error))
    _announce(settings, variables["SUPERVISE_LOGS"])
    _tell_start(variables)
    command = command_of("bus.process.stack")
    os.execve(command[0], command, environment_of(os.environ | variables))


if __name__ == "__main__":
    main()
