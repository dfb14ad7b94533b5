"""Start, stop, crash and refuse, with real processes and real signals."""

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from bus.clock import ManualClock
from bus.process.lifecycle import Deadline, Stop
from bus.process.locks import STACK, check_port, hold_data_dir, hold_role, holder, private_dir, take_role
from bus.process.settings import Settings
from bus.process.supervise import check_trader, prepare
from bus.process.supervised import Supervisor
from markets.errors import StartupError
from publisher.run import run as publisher
from tests.support import Process, Runner, eventually

# What a process of the project looks like, with `body` as its run().
PROGRAM = """
import sys, threading, zmq, structlog
from bus.process.lifecycle import main
from markets.errors import StartupError

log = structlog.get_logger()

def run(settings, stop):
    {body}

sys.exit(main("publisher", run))
"""

WAIT_IN_POLL = """
    poller = zmq.Poller()
    poller.register(stop, zmq.POLLIN)
    log.info("test.waiting")
    while not stop.is_set():
        poller.poll(60_000)
    return 0
"""


def start(runner: Runner, body: str, env: dict[str, str] | None = None) -> Process:
    return runner.start_command([sys.executable, "-c", PROGRAM.format(body=body)], env)


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_wakes_a_blocked_poll(runner: Runner, number: signal.Signals) -> None:
    process = start(runner, WAIT_IN_POLL)
    process.wait_event("test.waiting")

    process.signal(number)

    assert process.wait() == 0
    assert process.events("process.stopped")[0]["code"] == 0


@pytest.mark.e2e
def test_a_second_signal_ends_a_process_that_hangs(runner: Runner) -> None:
    process = start(
        runner,
        "log.info('test.waiting')\n    stop.wait()\n    log.info('test.hangs')\n    threading.Event().wait()",
    )
    process.wait_event("test.waiting")
    process.signal(signal.SIGTERM)
    process.wait_event("test.hangs")

    process.signal(signal.SIGTERM)

    assert process.wait() == 128 + signal.SIGTERM


@pytest.mark.e2e
def test_a_crash_is_logged_once_and_exits_with_1(runner: Runner) -> None:
    process = start(runner, "raise RuntimeError('boom')")

    assert process.wait() == 1
    (event,) = process.events("process.crashed")
    assert event["exception"][0]["exc_value"] == "boom"


@pytest.mark.e2e
def test_a_crashed_thread_takes_the_process_down(runner: Runner) -> None:
    process = start(
        runner, "threading.Thread(target=lambda: 1 / 0, name='reader').start()\n    stop.wait()\n    return 0"
    )

    assert process.wait() == 1
    assert process.events("thread.crashed")[0]["thread"] == "reader"


@pytest.mark.e2e
def test_a_refusal_is_one_line_and_exits_with_2(runner: Runner) -> None:
    process = start(runner, "raise StartupError('key.pem: mode 0644: run chmod 600 key.pem')")

    assert process.wait() == 2
    assert process.output().splitlines()[-1] == "publisher: key.pem: mode 0644: run chmod 600 key.pem"


@pytest.mark.e2e
def test_wrong_settings_are_all_listed_and_exit_with_2(runner: Runner) -> None:
    process = start(runner, "return 0", {"KALSHI_BUS_MODE": "x", "KALSHI_BUS_NOPE": "1"})

    assert process.wait() == 2
    told = process.output().splitlines()
    assert len(told) == 2
    assert all(line.startswith("publisher: KALSHI_BUS_") for line in told)


@pytest.mark.e2e
def test_a_second_process_of_a_role_is_refused_until_the_first_is_dead(runner: Runner) -> None:
    first = start(runner, WAIT_IN_POLL)
    first.wait_event("test.waiting")

    second = start(runner, WAIT_IN_POLL)
    assert second.wait() == 2
    assert f"publisher already running, pid {first.pid}" in second.output()

    first.kill()
    third = start(runner, WAIT_IN_POLL)
    third.wait_event("test.waiting")
    assert third.stop() == 0


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_dies_with_a_killed_parent(runner: Runner) -> None:
    grandchild = f"{sys.executable} -m bus.process.child {sys.executable} -c 'import time; time.sleep(600)'"
    parent = runner.start_command(["/bin/sh", "-c", f"{grandchild} & echo child $!; wait"])
    child = int(eventually(lambda: parent.output().split("child ")[1:])[0])
    # From when bus.process.child has become the program (no fork of the shell, not itself) it is on the
    # leash.
    program = [sys.executable.encode(), b"-c", b"import time; time.sleep(600)", b""]
    eventually(lambda: Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0") == program)

    os.kill(parent.pid, signal.SIGKILL)

    eventually(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


def test_stop_is_readable_for_every_poller_and_stays_so() -> None:
    stop = Stop()
    poller = zmq.Poller()
    poller.register(stop, zmq.POLLIN)
    assert poller.poll(0) == []

    stop.set()
    stop.set()

    assert poller.poll(0)
    assert poller.poll(0)
    assert stop.is_set()
    assert stop.wait(0)
    stop.close()


def test_stop_gives_the_handlers_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = Stop()
    with stop.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(30)
    stop.close()

    assert signal.getsignal(signal.SIGTERM) is before
    assert threading.current_thread() is threading.main_thread()


def test_a_signal_that_arrives_just_as_the_main_thread_begins_to_wait_stops_it() -> None:
    stop = Stop()
    with stop.on_signals():
        with stop._event._cond:  # type: ignore[attr-defined]  # as it is inside `wait`
            signal.raise_signal(signal.SIGTERM)
        assert stop.wait(30)
    stop.close()


def test_deadline_is_shared_by_steps() -> None:
    clock = ManualClock()
    deadline = Deadline(5, lambda: clock.monotonic_ns() / 1e9)
    clock.advance(3000)
    assert deadline.remaining_s() == pytest.approx(2)
    assert not deadline.passed

    clock.advance(3000)

    assert deadline.remaining_s() == 0
    assert deadline.passed


def test_manual_clock_jumps_only_on_the_wall() -> None:
    clock = ManualClock(1_000)
    clock.advance(5)
    clock.set_wall(500)

    assert (clock.now_ms(), clock.now_ns(), clock.monotonic_ns()) == (500, 500_000_000, 5_000_000)


def test_private_dir_is_made_for_its_owner_only(tmp_path: Path) -> None:
    made = private_dir(tmp_path / "a" / "run")

    assert made.stat().st_mode & 0o777 == 0o700
    assert private_dir(made) == made


def test_a_run_dir_open_to_others_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o755)

    with pytest.raises(StartupError, match=r"0755.*chmod 700"):
        private_dir(tmp_path / "run")


def test_a_file_in_the_place_of_the_run_dir_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")

    with pytest.raises(StartupError, match="cannot make this directory"):
        private_dir(tmp_path / "run")


def test_roles_are_held_apart_and_freed(tmp_path: Path) -> None:
    refused = pytest.raises(StartupError, match=f"publisher already running, pid {os.getpid()}")
    with (
        hold_role(tmp_path, "publisher"),
        hold_role(tmp_path, "ui"),
        refused,
        hold_role(tmp_path, "publisher"),
    ):
        pytest.fail("two held it")
    with hold_role(tmp_path, "publisher"):
        assert (tmp_path / "publisher.lock").read_text() == f"{os.getpid()}\n"


def test_who_holds_a_role_is_named_with_what_stops_it(tmp_path: Path) -> None:
    us = os.getpid()
    with (
        hold_role(tmp_path, "publisher"),
        pytest.raises(StartupError, match=f"pid {us} .*: kill {us} stops it"),
    ):
        take_role(tmp_path, "publisher")
    with hold_role(tmp_path, STACK), hold_role(tmp_path, "ui"):
        with pytest.raises(StartupError, match=f"kill {us} stops all that make run started"):
            take_role(tmp_path, "ui")
        with pytest.raises(
            StartupError, match=f"kalshi-bus already running, pid {us} .*: kill {us} stops it"
        ):
            take_role(tmp_path, STACK)
    os.close(take_role(tmp_path, STACK))


def test_two_publishers_of_two_run_directories_do_not_share_their_data(tmp_path: Path) -> None:
    data, stop = tmp_path / "data", Stop()
    second = Settings.load({"KALSHI_BUS_RUN_DIR": "second", "KALSHI_BUS_DATA_DIR": "data"}, tmp_path)
    refused = pytest.raises(StartupError, match=r"/data: another publisher, .*KALSHI_BUS_DATA_DIR")
    try:
        with hold_data_dir(data):
            with refused:
                publisher(second, stop)
            with refused:
                prepare(second, "token")
        with hold_data_dir(data):
            pass
    finally:
        stop.close()


def test_the_pid_of_a_holder_before_is_not_named(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with hold_role(tmp_path, "publisher"):
        (tmp_path / "publisher.lock").write_text(f"{ended.pid}\n")  # as for a moment after a start
        with pytest.raises(StartupError, match="pid unknown"):
            take_role(tmp_path, "publisher")


def test_no_lock_can_be_made_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "publisher.lock").mkdir()

    with pytest.raises(StartupError, match=r"publisher\.lock: cannot be made: Is a directory"):
        take_role(tmp_path, "publisher")


def test_a_port_in_use_is_refused_with_the_setting_that_moves_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"port {port} .*KALSHI_BUS_UI_PORT"):
            check_port(port, "KALSHI_BUS_UI_PORT")
    check_port(port, "KALSHI_BUS_UI_PORT")


@pytest.mark.parametrize(("env", "simulator"), [("sim", "true"), ("demo", "false")])
def test_the_simulator_is_started_only_on_env_sim(runner: Runner, env: str, simulator: str) -> None:
    settings = Settings.load(_settings_of(runner) | {"KALSHI_BUS_ENV": env}, runner.folder)

    variables = prepare(settings, "a-token")

    assert variables["SUPERVISE_SIMULATOR"] == simulator
    assert variables["SUPERVISE_ORDERS"] == "false", "in mode paper no order leaves the trader"
    assert Path(variables["SUPERVISE_LOGS"]).stat().st_mode & 0o777 == 0o700


def test_where_orders_leave_gateway_and_watchdog_are_started(runner: Runner) -> None:
    settings = Settings.load(_settings_of(runner) | {"KALSHI_BUS_MODE": "sim"}, runner.folder)

    assert prepare(settings, "a-token")["SUPERVISE_ORDERS"] == "true"

    (runner.run_dir / "order_events.sock").write_text("precious")
    with pytest.raises(StartupError, match=r"is not a socket.*KALSHI_BUS_ORDER_EVENTS"):
        prepare(settings, "a-token")


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("folder", "module", "says"),
    [
        ("run", "bus.process.supervise", "cannot be written to: a file system that is read-only"),
        ("data", "bus.process.supervise", "cannot be written to: a file system that is read-only"),
        ("run", "publisher", "publisher.lock: cannot be made: Read-only file system"),
        ("data", "trader", "Read-only file system"),
    ],
)
def test_a_directory_that_cannot_be_written_to_is_one_clear_refusal(
    runner: Runner, folder: str, module: str, says: str
) -> None:
    path = runner.folder / folder
    path.mkdir(mode=0o700)
    mounted = f"mount --bind {path} {path} && mount -o remount,ro,bind {path}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mounted], capture_output=True, check=False).returncode:
        pytest.skip("no file system of one's own can be mounted here")

    process = runner.start_command(
        ["unshare", "-rm", "sh", "-c", f"{mounted} && exec {sys.executable} -m {module}"]
    )

    assert process.wait(20) == 2
    assert says in process.output()
    assert "Traceback" not in process.output()


@pytest.mark.e2e
def test_make_run_refuses_before_it_starts_anything(runner: Runner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", runner.ui_port))
        taken.listen()

        process = runner.start("bus.process.supervise")

        assert process.wait() == 2
        assert f"port {runner.ui_port}" in process.output()


@pytest.mark.e2e
def test_of_three_starts_at_once_one_wins_and_its_files_are_whole(runner: Runner) -> None:
    runner.run_dir = runner.folder / "50% o'run"  # supervisord takes a percent sign for a name
    runner.env |= {"KALSHI_BUS_RUN_DIR": str(runner.run_dir), "KALSHI_BUS_SIM_MARKETS": "100"}
    starts = [runner.start("bus.process.supervise") for _ in range(3)]
    eventually(lambda: sum(start.popen.poll() is None for start in starts) == 1, 20, "one is left")
    (winner,) = [start for start in starts if start.popen.poll() is None]
    for loser in starts:
        if loser is not winner:
            assert loser.wait() == 2
            assert f"already running, pid {winner.pid} " in loser.output()
            assert f"kill {winner.pid} stops it" in loser.output()
    supervisor = Supervisor(runner.run_dir)

    def processes() -> int:
        with contextlib.suppress(OSError):
            return len(supervisor.ask() or ())
        return 0

    eventually(lambda: processes() == 11, 20, "who has the winner's token is answered")
    ctl = [str(Path(sys.executable).with_name("supervisorctl")), "-c", f"{runner.run_dir}/supervisorctl.conf"]
    told = subprocess.run([*ctl, "status"], capture_output=True, text=True, timeout=20, check=False)
    assert "publisher" in told.stdout, told.stdout + told.stderr

    for log in (runner.run_dir / "logs").iterdir():
        log.unlink()  # what was opened is written on
    winner.signal(signal.SIGHUP)

    assert winner.wait(20) == 0
    assert not (runner.run_dir / "supervisor.sock").exists()
    assert all(holder(runner.run_dir, role) is None for role in (STACK, "publisher", "trader", "ui"))


@pytest.mark.e2e
def test_a_closed_terminal_stops_everything_also_where_only_a_waiting_shell_hears_of_it(
    runner: Runner,
) -> None:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    command = (
        f"{sys.executable} -m bus.process.supervise; true"  # as make is: it waits, and passes nothing on
    )
    shell = subprocess.Popen(
        ["setsid", "--ctty", "sh", "-c", command],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env=runner.env | {"KALSHI_BUS_SIM_MARKETS": "100"}, cwd=runner.folder,
    )  # fmt: skip
    os.close(theirs)

    def roles() -> list[str]:
        with contextlib.suppress(BlockingIOError):
            os.read(ours, 65_536)  # a terminal that is not read from holds up who writes
        return [role for role in ("publisher", "ui", "trader") if holder(runner.run_dir, role)]

    eventually(lambda: len(roles()) == 3, 20, "everything runs")
    pid = holder(runner.run_dir, STACK)
    assert pid
    try:
        os.close(ours)
        eventually(lambda: holder(runner.run_dir, STACK) is None, 15, "everything stops")
        assert all(holder(runner.run_dir, role) is None for role in ("publisher", "ui", "trader"))
        assert "stopped: publisher" in (runner.run_dir / "logs" / "supervisord.log").read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # all of it dies with it
        shell.wait()


@pytest.mark.parametrize(
    "name",
    ["ui_port", "snapshot_port", "sim_port", "feed", "state", "query", "trader_control", "trader_agents"],
)
def test_a_port_of_a_stranger_refuses_the_whole_start(runner: Runner, name: str) -> None:
    variable = f"KALSHI_BUS_{name.upper()}"
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        place = str(port) if name.endswith("_port") else f"tcp://127.0.0.1:{port}"
        settings = Settings.load(_settings_of(runner) | {variable: place}, runner.folder)

        with pytest.raises(StartupError, match=f"port {port} .*{variable}"):
            prepare(settings, "a-token")

    prepare(settings, "a-token")


@pytest.mark.parametrize("name", ["feed", "state", "query", "trader_control", "trader_events"])
def test_an_endpoint_of_a_stranger_refuses_the_whole_start(runner: Runner, name: str) -> None:
    settings = Settings.load(_settings_of(runner), runner.folder)
    prepare(settings, "a-token")
    path = runner.run_dir / f"{name}.sock"
    path.write_text("precious")
    with pytest.raises(StartupError, match=f"is not a socket.*KALSHI_BUS_{name.upper()}"):
        prepare(settings, "a-token")
    assert path.read_text() == "precious"
    path.unlink()

    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(path))
        stranger.listen()
        with pytest.raises(StartupError, match=f"in use.*KALSHI_BUS_{name.upper()}"):
            prepare(settings, "a-token")

    prepare(settings, "a-token")  # what a killed process left behind is no stranger


@pytest.mark.parametrize(
    ("variable", "make", "words"),
    [
        ("KALSHI_PRIVATE_KEY_PATH", lambda path: None, "cannot be read.*_KEY_PATH"),
        ("KALSHI_PRIVATE_KEY_PATH", lambda path: path.write_text("k") and path.chmod(0o644), "chmod 600"),
        ("KALSHI_PRIVATE_KEY_PATH", lambda path: path.symlink_to("/dev/null"), "symbolic link"),
        ("KALSHI_PRIVATE_KEY_PATH", lambda path: path.mkdir(mode=0o700), "not a regular file"),
        ("KALSHI_BUS_DATA_DIR", lambda path: path.mkdir(mode=0o755), "chmod 700"),
        ("KALSHI_BUS_DATA_DIR", lambda path: path.write_text(""), "cannot make this directory"),
    ],
)  # fmt: skip
def test_what_would_end_a_process_again_and_again_refuses_the_whole_start(
    runner: Runner, variable: str, make: Callable[[Path], object], words: str
) -> None:
    path = runner.folder / "it"
    make(path)
    env = _settings_of(runner) | {"KALSHI_BUS_ENV": "demo", "KALSHI_API_KEY_ID": "an-id", variable: str(path)}
    good = runner.folder / "good.pem"
    good.touch(mode=0o600)
    env.setdefault("KALSHI_PRIVATE_KEY_PATH", str(good))

    with pytest.raises(StartupError, match=words):
        prepare(Settings.load(env, runner.folder), "a-token")


def _settings_of(runner: Runner) -> dict[str, str]:
    return {key: value for key, value in runner.env.items() if key.startswith("KALSHI_")}


@pytest.mark.e2e
@pytest.mark.parametrize(
    "module",
    [
        *("publisher", "snapshot_server", "ui", "trader", "simulator", "bus", "alerts"),
        *("bus.process.supervise", "bus.process.stack", "bus.process.child", "bus.tools.first_start"),
    ],
)
def test_every_process_explains_itself_and_takes_no_argument_it_does_not_know(
    runner: Runner, module: str
) -> None:
    explained, refused = runner.start(module, "--help"), runner.start(module, "--port-of-call", "1")

    assert explained.wait() == 0
    assert explained.output().startswith(f"usage: python -m {module}")
    assert refused.wait() == 2
    assert "error: " in refused.output()
    assert not runner.run_dir.exists(), "nothing was started"


def test_supervisord_conf_never_opens_a_port_and_never_gives_up() -> None:
    conf = (Path(__file__).resolve().parents[3] / "supervisord.conf").read_text()
    programs = conf.split("[program:")[1:]

    assert "[inet_http_server]" not in conf
    assert [text.split("]")[0] for text in programs] == [
        "simulator",
        "publisher",
        "snapshot_server",
        "orders",
        "watchdog",
        "trader",
        "ui",
        "recorder",
        "past",
        "forwarder",
        "alerts",
    ]
    for text in programs:
        for line in (
            "autorestart=true",
            "startretries=1000000",
            "stopasgroup=true",
            "-m bus.process.child",
            "directory=%(ENV_SUPERVISE_FOLDER)s",
        ):
            assert line in text
    assert len({text.split("stdout_logfile=")[1].split("\n")[0] for text in programs}) == len(programs)


def test_what_the_trader_would_refuse_refuses_everything_at_once(tmp_path: Path) -> None:
    check_trader({}, tmp_path)

    with pytest.raises(StartupError, match=r"^KALSHI_BUS_STRATEGIES: got 'no_baskt', .*no_basket"):
        check_trader({"KALSHI_BUS_STRATEGIES": "value,no_baskt"}, tmp_path)
