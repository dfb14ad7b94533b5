"""Network namespaces: separate machines, as far as sockets can tell. They require root."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support import Process, Runner, eventually

HOLD = """
import fcntl, socket, struct, time
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
with socket.socket() as any_socket:  # what `ip link set lo up` does
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
print("ready", flush=True)
time.sleep(600)
"""
"""Keeps the namespace alive, with its loopback up."""


def new_namespace(runner: Runner) -> Process:
    """Return a process in a namespace of its own, which lasts as long as it; skip if that is impossible."""
    for program in ("unshare", "nsenter"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} (util-linux) is not installed")
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no network namespace can be made here (that takes root): {tried.stderr.strip()}")
    holder = runner.start_command(["unshare", "--net", sys.executable, "-c", HOLD])
    eventually(lambda: "ready" in holder.output())
    return holder


def inside(runner: Runner, namespace: Process, *arguments: str, env: dict[str, str] | None = None) -> Process:
    """Start Python in the namespace."""
    return runner.start_command(within(namespace, sys.executable, *arguments), env)


def within(namespace: Process, *command: str) -> list[str]:
    """Return the command that runs another in the namespace."""
    return ["nsenter", f"--net=/proc/{namespace.pid}/ns/net", *command]


def wire(one: Process, other: Process) -> tuple[str, str]:
    """Connect two namespaces by a wire; return their addresses on it. Skip if that is impossible."""
    if shutil.which("ip") is None:
        pytest.skip("ip (iproute2) is not installed")
    ends = [f"kb{os.getpid() % 1_000_000}{end}" for end in "ab"]
    made = subprocess.run(
        ["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"no virtual wire can be laid here: {made.stderr.strip()}")
    addresses = "10.77.0.1", "10.77.0.2"
    for namespace, end, address in zip((one, other), ends, addresses, strict=True):
        subprocess.run(["ip", "link", "set", end, "netns", str(namespace.pid)], check=True)
        for words in (["link", "set", end, "name", "wire0"], ["addr", "add", f"{address}/24", "dev", "wire0"],
                      ["link", "set", "wire0", "up"]):  # fmt: skip
            subprocess.run(within(namespace, "ip", *words), check=True)
    return addresses
