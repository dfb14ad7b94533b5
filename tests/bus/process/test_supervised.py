"""A real supervisord's account of its processes: alive, crash-looping, stopped, standing still."""

import itertools
import signal
import socket
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from bus.process.lifecycle import Stop
from bus.process.supervised import Processes, ProcessMonitor, Supervisor, last_words
from tests.support import ROOT, Process, Runner, eventually

pytestmark = pytest.mark.slow

CONFIG = """
[supervisord]
nodaemon=true
logfile={run}/logs/supervisord.log
pidfile={run}/supervisord.pid
[unix_http_server]
file={run}/supervisor.sock
username=kalshi-bus
password=secret
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:good]
command={python} -m bus.process.child {python} -c "import time; time.sleep(600)"
directory={root}
startsecs=0
[program:looping]
command={python} -c "raise SystemExit(3)"
startsecs=3
startretries=1000000
[program:hopeless]
command={python} -c "raise SystemExit(3)"
startsecs=3
startretries=0
[program:crashing]
command={python} -c "exec(open('{run}/crashing.py').read())"
directory={root}
startsecs=3
startretries=1000000
redirect_stderr=true
stdout_logfile={run}/logs/crashing.jsonl
[program:killed]
command={python} -c "import os; os.kill(os.getpid(), 9)"
startsecs=3
startretries=1000000
[program:idle]
command={python} -c "import time; time.sleep(600)"
autostart=false
"""

CRASHING = """
import structlog
from bus.process import logs
logs.configure("crashing")
try:
    open("/")
except OSError:
    structlog.get_logger().exception("process.crashed")
raise SystemExit(1)
"""


@pytest.fixture(name="supervisord")
def _supervisord(runner: Runner) -> Process:
    run = runner.run_dir
    (run / "logs").mkdir(mode=0o700, parents=True)
    (run / "supervisorctl.conf").write_text("[supervisorctl]\nusername=kalshi-bus\npassword=secret\n")
    (run / "crashing.py").write_text(CRASHING)
    config = run / "supervisord.conf"
    config.write_text(CONFIG.format(run=run, python=sys.executable, root=ROOT))
    user = ["-u", "root"] if config.stat().st_uid == 0 else []
    # The pid that its children hang on, as from `make run`: one that starts late finds no parent to ask.
    command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config), *user]
    process = runner.start_command(["sh", "-c", 'SUPERVISE_PID=$$ exec "$@"', "sh", *command])
    eventually(lambda: accepts(run / "supervisor.sock"))
    return process


def accepts(path: Path) -> bool:
    """Return whether somebody listens: supervisord's socket is there a moment before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def asked(supervisor: Supervisor, wanted: Callable[[Processes], object]) -> Processes:
    """Ask until the answer is as wanted."""

    def answer() -> Processes | None:
        found = supervisor.ask()
        return found if found is not None and wanted(found) else None

    found = eventually(answer)
    assert found is not None
    return found


def test_states_tries_and_restarts_are_told(supervisord: Process, runner: Runner) -> None:
    supervisor = Supervisor(runner.run_dir)
    found = asked(
        supervisor,
        lambda all_: (
            all_["looping"].tries >= 3
            and all_["looping"].state == "BACKOFF"
            and all_["hopeless"].state == "FATAL"
            and all_["good"].state == "RUNNING"
            and all_["crashing"].tries >= 2
            and all_["killed"].tries >= 2
        ),
    )
    good, looping, hopeless, idle = (found[name] for name in ("good", "looping", "hopeless", "idle"))
    assert good.trouble is None
    assert good.pid
    assert good.uptime_seconds is not None
    assert (good.restarts, good.tries) == (0, 0)
    assert looping.trouble is not None
    assert f"{looping.tries} tries" in looping.trouble
    assert looping.pid is None
    assert looping.uptime_seconds is None
    assert "fatal" in (hopeless.trouble or "")
    assert (looping.trouble or "").endswith("tries so far: exit status 3")
    assert (found["crashing"].trouble or "").endswith("IsADirectoryError: [Errno 21] Is a directory: '/'")
    assert (found["killed"].trouble or "").endswith("terminated by SIGKILL")
    assert (idle.state, idle.trouble) == ("STOPPED", None)

    # A process that ends at once is started again after 1 s, 2 s, 3 s, ...: no loop at full speed.
    lines = (runner.run_dir / "logs" / "supervisord.log").read_text().splitlines()
    spawned = [datetime.fromisoformat(line[:23]) for line in lines if "spawned: 'looping'" in line]
    pauses = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(spawned)]
    assert len(pauses) >= 2
    for number, pause_s in enumerate(pauses):
        assert pause_s >= number + 0.9  # supervisord counts in whole seconds of the clock, less a fraction

    # Another reader, who comes later, counts the same from the log.
    assert asked(Supervisor(runner.run_dir), len)["looping"].tries >= looping.tries


def test_the_monitor_never_waits_for_a_supervisord_that_stands_still(
    supervisord: Process, runner: Runner
) -> None:
    monitor, stop = ProcessMonitor(runner.run_dir), Stop()
    thread = monitor.thread(stop)
    thread.start()
    try:
        eventually(lambda: monitor.processes)
        supervisord.signal(signal.SIGSTOP)
        eventually(lambda: monitor.processes is None, what="it is not asked for ever")
        supervisord.signal(signal.SIGCONT)
        eventually(lambda: monitor.processes)
    finally:
        stop.set()
        thread.join()
        stop.close()


def test_without_a_supervisord_there_is_nothing_to_tell(runner: Runner) -> None:
    assert Supervisor(runner.run_dir).ask() is None


def test_a_supervisord_that_is_gone_is_an_error(supervisord: Process, runner: Runner) -> None:
    supervisord.kill()  # its socket stays behind
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        Supervisor(runner.run_dir).ask()


def test_counts_survive_the_rotation_of_the_log(supervisord: Process, runner: Runner) -> None:
    supervisor = Supervisor(runner.run_dir)
    asked(supervisor, lambda all_: all_["hopeless"].state == "FATAL")
    supervisord.kill()
    log: Path = runner.run_dir / "logs" / "supervisord.log"
    history = supervisor._history
    history.read()
    before = history.restarts["good"]
    line = "2026-01-01 00:00:00,000 INFO exited: good (exit status 1; not expected)\n"
    with log.open("a") as file:
        file.write(line)
    log.rename(log.with_name(f"{log.name}.1"))
    log.write_text(line)
    history.read()
    assert history.restarts["good"] == before + 2
    history.read()
    assert history.restarts["good"] == before + 2


STARTED = '{"level":"info","event":"process.started"}\n{"event":"a"}\n'
CRASH = '{"level":"error","event":"thread.crashed","exception":[{"exc_type":"OSError","exc_value":"full"}]}\n'
TRACEBACK = 'Traceback (most recent call last):\n  File "x", line 1\nModuleNotFoundError: No module named y\n'


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ('{"level":"info","event":"process.started"}\ntrader: runs already\n', "trader: runs already"),
        (
            '{"level":"error","event":"process.crashed","exception":[{"exc_type":"OSError","exc_value":"no"}]}',
            "process.crashed OSError: no",
        ),
        ('{"level":"error","event":"odd","error":"why"}\n{"level":"info","event":"process.stopped"}\n', ""),
        (CRASH + '{"level":"info","event":"process.stopped","code":1}\n', "thread.crashed OSError: full"),
        # Started again since: what ended the life before.
        (CRASH + STARTED, "thread.crashed OSError: full"),
        (CRASH + '{"level":"info","event":"process.stopped","code":0}\n', ""),
        (TRACEBACK, "ModuleNotFoundError: No module named y"),
        ('{"event":"a"}\nFatal Python error: Abort\n\n  File "x", line 1\n', "Fatal Python error: Abort"),
        ('{"level":"error","event":', ""),
        ("{" + "[" * 100_000, ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_last_line_of_a_log_says_why_a_process_ended(tmp_path: Path, log: str, words: str) -> None:
    path = tmp_path / "process.jsonl"
    assert last_words(path) == ""
    path.write_text(log)
    assert last_words(path) == words
