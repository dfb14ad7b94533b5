"""Drills: what dies, stands still, is cut off or lied to, and when nothing of ours rests any more.

Real processes, and a trader that is none. With each order of ours rests one that is not ours: it stays.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bus.trading.gateway import STANDS_STILL
from markets.orders import Ended
from publisher.orders import records
from publisher.orders.fence import Fence
from publisher.orders.log import read_log
from tests.publisher.orders.floor import START_S, Floor
from tests.support import Process, Runner, eventually, free_ports

WITHIN_S: Final = 5.0
FROZEN_S: Final = 10.0
"""So long a feed is frozen before anybody acts."""

LEASE_S: Final = 10
HOUR_MS: Final = 3_600_000

STEPPED = """
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from bus.clock import SystemClock
from bus.process.lifecycle import main

role, module, path = sys.argv[1:]

class Stepped(SystemClock):
    def now_ns(self):
        return super().now_ns() + int(Path(path).read_text()) * 1_000_000
    def now_ms(self):
        return self.now_ns() // 1_000_000

sys.exit(main(role, partial(import_module(module).run, clock=Stepped())))
"""
"""A process whose wall clock is off by what a file says, in ms."""

SMALL = """
import subprocess, sys, time
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=700", "tmpfs", sys.argv[1]], check=True)
print("mounted", flush=True)
time.sleep(600)
"""
"""Keeps a mount namespace in which a directory is a small disk of its own."""

SUPERVISES = """
import os, subprocess, sys, time
os.environ["SUPERVISE_PID"] = str(os.getpid())
for module in sys.argv[1:]:
    subprocess.Popen([sys.executable, "-m", "bus.process.child", sys.executable, "-m", module])
time.sleep(600)
"""
"""What of supervisord matters here: processes that die with it."""


class Way:
    """The way to the exchange, through this process: it can be cut, and then nobody is told.

    `says`: what comes back, and what instead of it, as long.
    """

    def __init__(self, to_port: int, says: tuple[bytes, bytes] = (b"", b"")) -> None:
        self._says = says
        (self.port,) = free_ports(1)
        self._to = to_port
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._begin(self._accept)

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    def close(self) -> None:
        self.mend()
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._sockets):
            one.close()

    def _begin(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += [near, far]
            self._begin(self._carry, near, far)
            self._begin(self._carry, far, near)

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := one.recv(65_536):
                self._open.wait()  # what was sent while it is cut comes late, as on a real one
                other.sendall(part.replace(*self._says) if self._says[0] else part)
            other.shutdown(socket.SHUT_WR)


class Drill:
    """Everything up, and orders that rest; with them one that is not ours."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.gateway = floor.gateway()
        self.watchdog = floor.watchdog()
        self.trader = floor.trader()
        floor.wait_ready()
        self.foreign = floor.place_by_hand()

    def up(self) -> None:
        """Have all who died or were stopped back."""
        for process in (self.floor.publisher, self.trader, self.gateway, self.watchdog):
            if process.popen.poll() is None:
                process.signal(signal.SIGCONT)
        if self.watchdog.popen.poll() is not None:
            self.watchdog = self.floor.watchdog()
        if self.trader.popen.poll() is not None:
            self.trader = self.floor.trader()
        if self.gateway.popen.poll() is not None:
            self.gateway = self.floor.gateway()
        self.floor.wait_ready()

    def rest(self) -> None:
        """Let orders of ours rest."""
        intents = [self.floor.intent(), self.floor.intent()]
        self.floor.place(*intents)
        names = {intent.client_order_id for intent in intents}
        eventually(lambda: names <= {*self.floor.resting()}, what="they rest")

    def only_the_foreign_rests(self) -> bool:
        return self.floor.resting() == [self.foreign]

    def gone(self, within_s: float, began: float) -> float:
        """Wait until nothing of ours rests; return how long that took."""
        eventually(self.only_the_foreign_rests, within_s + 20, "nothing of ours rests")
        took = time.monotonic() - began
        assert took < within_s, f"not within {within_s:g} s: it took {took:.1f} s"
        return took

    def strike(self, number: signal.Signals, *processes: Process, within_s: float = WITHIN_S) -> float:
        """Send a signal to all of these; return how long it takes until nothing of ours rests."""
        began = time.monotonic()
        for process in processes:
            process.signal(number)
        return self.gone(within_s, began)

    def all_ended(self) -> bool:
        """Whether all orders have come to their end, each once, and none was doubled."""
        floor = self.floor
        ends = [event.event.number for event in floor.events() if isinstance(event.event, Ended)]
        assert len(set(ends)) == len(ends)
        names = [order["client_order_id"] for order in floor.orders()]
        assert len(set(names)) == len(names), "two orders of one intent"
        return sorted(ends) == [*range(1, floor.number + 1)]

    def settle(self) -> None:
        """See that all orders end, as the books say."""
        self.up()
        eventually(self.all_ended, 60, "all orders end")
        assert self.only_the_foreign_rests()

    @contextlib.contextmanager
    def restarted(self, **env: str) -> Iterator[None]:
        """With gateway and watchdog that have other settings."""
        before = dict(self.floor.runner.env)
        self.floor.runner.env |= env
        self.end_ours()
        self.up()
        try:
            yield
        finally:
            self.floor.runner.env.clear()
            self.floor.runner.env |= before
            self.end_ours()
            self.up()

    def end_ours(self) -> None:
        for process in (self.watchdog, self.gateway):
            if process.popen.poll() is None:
                process.signal(signal.SIGCONT)
                process.stop()


def struck(number: signal.Signals, *names: str) -> Callable[[Drill], float]:
    """Return a drill: these are killed or stopped."""

    def drill(drill: Drill) -> float:
        drill.rest()
        took = drill.strike(number, *(getattr(drill, name) for name in names))
        if "gateway" in names or number is signal.SIGSTOP:
            assert drill.gateway.wait() == -signal.SIGKILL, "who stands still must never go on"
        return took

    return drill


def frozen_feed(drill: Drill) -> float:
    drill.rest()
    return drill.strike(signal.SIGSTOP, drill.floor.publisher, within_s=FROZEN_S + WITHIN_S)


def gateway_back_at_once(drill: Drill) -> float:
    """A gateway that comes while the watchdog is at work: it may place, and what it places stays."""
    drill.rest()
    began = time.monotonic()
    drill.trader.signal(signal.SIGKILL)
    drill.gateway.signal(signal.SIGKILL)
    seen = len(drill.watchdog.events("watchdog.takes_over"))
    eventually(lambda: len(drill.watchdog.events("watchdog.takes_over")) > seen, what="it takes over")
    drill.gateway, drill.trader = drill.floor.gateway(), drill.floor.trader()
    took = drill.gone(WITHIN_S, began)
    drill.floor.wait_ready()
    drill.rest()
    assert len(drill.floor.resting()) == 3
    # It has proved by then: nothing of what came later was taken for what had to go.
    proved = len(drill.watchdog.events("watchdog.proved"))
    eventually(
        lambda: len(drill.watchdog.events("watchdog.proved")) >= proved and len(drill.floor.resting()) == 3
    )
    status = drill.floor.status()
    assert status is not None
    assert "cancelled" in (status.watchdog or "")
    for number in (drill.floor.number - 1, drill.floor.number):
        drill.floor.cancel(number)
    return took


def older_gateway(drill: Drill) -> float:
    """Fenced, but alive: it sends nothing any more."""
    (folder,) = (drill.floor.runner.folder / "data").glob("orders-sim-*")
    Fence(folder).raise_()
    began = time.monotonic()
    drill.floor.place(drill.floor.intent())
    ended = eventually(lambda: drill.floor.ended(drill.floor.number), WITHIN_S, "it is refused")
    assert ended is not None
    assert ended.reason == "fenced"
    assert drill.gateway.popen.poll() is None
    drill.gateway.stop()
    return time.monotonic() - began


def lease_alone(number: signal.Signals) -> Callable[[Drill], float]:
    """Return a drill: all are stopped or killed at once, and the lease alone acts."""

    def drill(drill: Drill) -> float:
        with drill.restarted(KALSHI_BUS_ORDER_LEASE_S=str(LEASE_S)):
            drill.rest()
            who = (drill.watchdog, drill.trader, drill.gateway)
            took = drill.strike(number, *who, within_s=LEASE_S + 1)
            if number is signal.SIGSTOP:  # they wake up one by one
                drill.gateway.signal(signal.SIGCONT)
            return took

    return drill


def no_watchdog(number: signal.Signals) -> Callable[[Drill], float]:
    """Return a drill: without watchdog and trader a gateway lets nothing rest longer than the lease."""
    return lambda drill: _no_watchdog(drill, number)


def _no_watchdog(drill: Drill, number: signal.Signals) -> float:
    with drill.restarted(KALSHI_BUS_ORDER_LEASE_S=str(LEASE_S)):
        drill.watchdog.signal(number)
        said = STANDS_STILL if number is signal.SIGSTOP else None
        eventually(lambda: getattr(drill.floor.status(), "watchdog", "") == said, 20, "it is said")
        drill.rest()
        began = time.monotonic()
        while time.monotonic() < began + LEASE_S + 2:  # renewed while the trader lives
            assert not drill.only_the_foreign_rests()
        return drill.strike(signal.SIGKILL, drill.trader, within_s=LEASE_S + 1)


def cut_off(*also: str) -> Callable[[Drill], float]:
    """Return a drill: the way to the exchange is cut, and these processes are killed, too."""

    def drill(drill: Drill) -> float:
        floor = drill.floor
        way = Way(floor.runner.sim_port)
        url = f"http://127.0.0.1:{way.port}/trade-api/v2"
        try:
            with drill.restarted(KALSHI_BUS_ORDER_LEASE_S=str(LEASE_S), KALSHI_BUS_API_URL=url):
                drill.rest()
                way.cut()
                late = floor.intent()
                floor.place(late)  # on its way into nowhere
                took = drill.strike(
                    signal.SIGKILL, *(getattr(drill, name) for name in also), within_s=LEASE_S + 1
                )
                way.mend()
                drill.settle()
        finally:
            way.close()
        return took

    return drill


def wall_clock(drill: Drill) -> float:
    """The machine's clock jumps by an hour, forth and back: leases and watchdog do not care."""
    floor, path = drill.floor, drill.floor.runner.folder / "wall_ms"

    def jump(ms: int) -> None:
        new = path.with_suffix(".new")
        new.write_text(str(ms))
        new.replace(path)

    def stepped(role: str, module: str) -> Process:
        return floor.runner.start_command([sys.executable, "-c", STEPPED, role, module, str(path)])

    took = 0.0
    for jump_ms in (HOUR_MS, -HOUR_MS):
        drill.end_ours()
        jump(0)
        floor.runner.env["KALSHI_BUS_ORDER_LEASE_S"] = str(LEASE_S)
        try:
            drill.gateway = stepped("orders", "publisher.orders.run")
            drill.watchdog = stepped("watchdog", "publisher.orders.watchdog")
            drill.watchdog.wait_event("watchdog.watches", START_S)
            drill.up()
            drill.rest()
            began = time.monotonic()
            jump(jump_ms)
            while time.monotonic() < began + LEASE_S + 2:
                assert len(floor.resting()) == 3, "they are renewed by the exchange's clock"
            took = max(took, drill.strike(signal.SIGSTOP, drill.trader))
        finally:
            del floor.runner.env["KALSHI_BUS_ORDER_LEASE_S"]
        drill.up()
        drill.settle()
    drill.end_ours()
    return took


def full_disk(drill: Drill) -> float:
    """No room for the log: nothing is sent, a sentence says so; and the watchdog cancels all the same."""
    floor = drill.floor
    data = floor.runner.folder / "data"
    drill.end_ours()
    disk = floor.runner.start_command(["unshare", "--mount", sys.executable, "-c", SMALL, str(data)])
    eventually(lambda: "mounted" in disk.output(), what="a small disk")
    inside = ["nsenter", f"--mount=/proc/{disk.pid}/ns/mnt", f"--wd={floor.runner.folder}", sys.executable]

    def start(module: str) -> Process:
        return floor.runner.start_command([*inside, "-m", module])

    try:
        drill.gateway = start("publisher.orders")
        drill.watchdog = start("publisher.orders.watchdog")
        drill.watchdog.wait_event("watchdog.watches", START_S)
        floor.wait_ready()
        floor.number = 0  # another log: it knows none of the journal's orders
        floor.journal = f"{floor.journal[:-2]}99"
        drill.rest()
        filler = Path(f"/proc/{disk.pid}/root{data}/filler")
        filled = _fill(filler)
        intents = []
        while drill.gateway.popen.poll() is None:  # the log's last page has some room left
            intents.append(floor.intent())
            floor.place_once(intents[-1])
        began = time.monotonic()
        assert drill.gateway.wait() == 2
        assert "/log: cannot be written: No space left on device: nothing is sent until it can" in (
            drill.gateway.output()
        )
        (log,) = Path(f"/proc/{disk.pid}/root{data}").glob("orders-sim-*/log")
        written = [records.decode(record) for record in read_log(log)]
        sent = sum(isinstance(record, records.Requested) and record.what == "create" for record in written)
        theirs = {intent.client_order_id for intent in intents} & {
            order["client_order_id"] for order in floor.orders()
        }
        assert len(theirs) == sent - 2, "what is not in the log has not left"
        took = drill.gone(WITHIN_S, began)  # though nothing of the fence can be written
        again = start("publisher.orders")
        assert again.wait() == 2
        assert "No space left on device" in again.output()
        assert filled > 0
        filler.unlink()
        drill.gateway = start("publisher.orders")
        floor.wait_ready()
        floor.place(*intents)  # as the trader asks again for all that was not answered
        last = floor.intent()
        floor.place(last)
        eventually(lambda: last.client_order_id in floor.resting(), what="it goes on when there is room")
        for intent in (*intents, last):
            floor.cancel(intent.number)
        drill.settle()
    finally:
        drill.end_ours()
        disk.kill()
        drill.trader.kill()  # it asks for the journal of before
        floor.number, floor.journal = 0, f"{floor.journal[:-2]}98"
    return took


def _fill(path: Path) -> int:
    """Write until there is no room; return how much went."""
    written = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (65_536, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    written += os.write(fd, b"x" * size)
    finally:
        os.close(fd)
    return written


def supervisor_killed(drill: Drill) -> float:
    """All that supervisord started dies with it; the lease alone ends what rests."""
    floor = drill.floor
    drill.end_ours()
    floor.runner.env["KALSHI_BUS_ORDER_LEASE_S"] = str(LEASE_S)
    try:
        modules = ("publisher.orders", "publisher.orders.watchdog")
        supervises = floor.runner.start_command([sys.executable, "-c", SUPERVISES, *modules])
        eventually(lambda: supervises.events("watchdog.watches"), START_S, "the watchdog watches")
        floor.wait_ready()
        drill.rest()
        pids = [event["pid"] for event in supervises.events("process.started")]
        assert len(pids) == 2
        took = drill.strike(signal.SIGKILL, supervises, within_s=LEASE_S + 1)
        eventually(lambda: not any(map(_runs, pids)), what="all die with it")
    finally:
        del floor.runner.env["KALSHI_BUS_ORDER_LEASE_S"]
    return took


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


class Named(NamedTuple):
    """A drill. `takes_root`: it needs a mount of its own."""

    run: Callable[[Drill], float]
    takes_root: bool = False


KILL, STOP = signal.SIGKILL, signal.SIGSTOP

DRILLS: Final[dict[str, Named]] = {
    "trader killed": Named(struck(KILL, "trader")),
    "trader stopped": Named(struck(STOP, "trader")),
    "gateway killed": Named(struck(KILL, "gateway")),
    "gateway stopped": Named(struck(STOP, "gateway")),
    "trader and gateway killed": Named(struck(KILL, "trader", "gateway")),
    "trader and gateway stopped": Named(struck(STOP, "trader", "gateway")),
    "feed frozen": Named(frozen_feed),
    "gateway back while the watchdog works": Named(gateway_back_at_once),
    "an older gateway": Named(older_gateway),
    "all stopped at once": Named(lease_alone(STOP)),
    "all killed at once": Named(lease_alone(KILL)),
    "watchdog killed, then the trader": Named(no_watchdog(KILL)),
    "watchdog stopped, then the trader killed": Named(no_watchdog(STOP)),
    "network cut": Named(cut_off()),
    "network cut, then trader and gateway killed": Named(cut_off("trader", "gateway")),
    "wall clock an hour ahead and back": Named(wall_clock),
    "disk full": Named(full_disk, takes_root=True),
    "supervisord killed": Named(supervisor_killed),
}

QUICK: Final = (
    "trader stopped",
    "gateway stopped",
    "gateway back while the watchdog works",
    "an older gateway",
)
"""Those that take seconds."""


def drill(runner: Runner, names: list[str], say: Callable[[str], None] = print) -> dict[str, float]:
    """Do some drills, one after the other; return how long each took until nothing of ours rested."""
    floor = Floor(runner, "--tier", "prime")
    took: dict[str, float] = {}
    try:
        all_up = Drill(floor)
        for name in names:
            all_up.up()
            took[name] = DRILLS[name].run(all_up)
            say(f"{name}: {took[name]:.1f} s")
            all_up.settle()
        return took
    finally:
        floor.close()


def mountable() -> bool:
    """Whether a disk of its own can be had here."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return (
        shutil.which("unshare") is not None
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )
