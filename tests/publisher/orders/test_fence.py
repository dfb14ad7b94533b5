"""One gateway at a time may send, and none that the watchdog has taken over from."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from markets.errors import StartupError
from publisher.orders.fence import Fence
from tests.support import child, eventually

HOLDS = """
import sys, time
from pathlib import Path
from bus.process.locks import take_role
take_role(Path(sys.argv[1]), "gateway")
print("held", flush=True)
time.sleep(60)
"""


def test_generations_only_rise(tmp_path: Path) -> None:
    fence = Fence(tmp_path)
    assert fence.read() == 0
    assert [fence.raise_() for _ in range(3)] == [1, 2, 3]
    assert Fence(tmp_path).read() == 3


@pytest.mark.parametrize("content", [b"", b"-1\n", b"12", b"\xff\n", b"1" * 60, b"nan\n"])
def test_a_generation_that_cannot_be_read_lets_nobody_send(tmp_path: Path, content: bytes) -> None:
    fence = Fence(tmp_path)
    fence.raise_()
    (tmp_path / "generation").write_bytes(content)
    for ask in (fence.read, fence.raise_):
        with pytest.raises(StartupError, match=r"generation: got .*, expected the number"):
            ask()
    assert (tmp_path / "generation").read_bytes() == content


@pytest.mark.parametrize("stopped", [False, True])
def test_a_gateway_that_holds_the_lock_is_ended(tmp_path: Path, stopped: bool) -> None:
    fence, waited = Fence(tmp_path), []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        holder.poll()

    with child([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        if stopped:
            holder.send_signal(signal.SIGSTOP)
        assert fence.end_gateway(wait) == holder.pid
        assert eventually(lambda: holder.poll() is not None)
        assert holder.returncode == -signal.SIGKILL
    assert fence.end_gateway(wait) is None, "nobody is there any more"
