"""The process, without a client; with a client, see tests/e2e/test_agents.py."""

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from tests.support import ROOT, child


def started(folder: Path, *arguments: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "agent_server", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "KALSHI_BUS_RUN_DIR": str(folder / "run")}
    pipe = subprocess.PIPE
    return child(command, env=env, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe)


def test_a_signal_ends_it_while_the_client_stays_and_stdout_has_only_answers(short_dir: Path) -> None:
    with started(short_dir) as process:
        assert process.stderr is not None
        assert b"process.started" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        out, err = process.communicate(timeout=30)
    assert out == b""
    assert b"process.stopped" in err


def test_a_missing_folder_is_named_in_one_sentence(short_dir: Path) -> None:
    with started(short_dir, "--folder", str(short_dir / "none")) as process:
        out, err = process.communicate(timeout=30)
    assert out == b""
    assert err.decode() == f"mcp: --folder: {short_dir}/none: No such file or directory\n"
