"""Movers are asked for often while somebody looks and seldom otherwise; a silent server is reported."""

from bus.ask import NoAnswer
from bus.market_history import HistoryRefused, Movers
from bus.protocol.messages import Error
from ui.movers import EVERY_S, LOOKED_NS, SELDOM_S, WINDOWS_S, MoversLink

HOUR_S, DAY_S = WINDOWS_S


class Server:
    """Gives set answers, by a clock of its own."""

    def __init__(self) -> None:
        self.now_ns = 10**9
        self.asked: list[int] = []
        self.error: Exception | None = None
        self.link = MoversLink(self.ask, lambda: self.now_ns)

    def ask(self, window_s: int) -> Movers:
        self.asked.append(window_s)
        if self.error is not None:
            raise self.error
        return Movers(window_s, 0, 0, self.now_ns, 0, [])

    def after(self, seconds: float) -> list[int]:
        """Return the windows that are asked about so much later."""
        self.now_ns += int(seconds * 1e9)
        self.asked.clear()
        self.link.update()
        return list(self.asked)


def test_a_window_is_asked_about_often_while_somebody_looks_at_it_and_seldom_otherwise() -> None:
    server = Server()

    assert server.after(0) == [HOUR_S, DAY_S], "before anybody looks"
    assert server.after(EVERY_S) == []
    server.link.look(HOUR_S)
    assert server.after(0) == [HOUR_S]
    assert server.after(EVERY_S - 1) == []
    assert server.after(1) == [HOUR_S]
    assert server.after(SELDOM_S) == [HOUR_S, DAY_S]
    assert server.after(LOOKED_NS / 1e9 + EVERY_S - SELDOM_S) == []
    assert set(server.link.latest) == {HOUR_S, DAY_S}


def test_movers_not_ready_yet_are_soon_asked_for_again() -> None:
    server = Server()
    server.error = HistoryRefused(Error("not_ready", "they are being worked out"))

    assert server.after(0) == server.after(0.3) == [HOUR_S, DAY_S]
    assert server.link.silent == "they are being worked out"
    server.error = None
    assert server.after(0.3) == [HOUR_S, DAY_S]
    assert server.link.silent == ""


def test_the_last_movers_are_kept_while_nothing_answers_and_that_is_reported() -> None:
    server = Server()
    server.after(0)
    before = server.link.latest
    server.error = NoAnswer("nobody is there")

    assert server.after(SELDOM_S) == [HOUR_S, DAY_S]
    assert server.link.latest is before
    assert "does not answer" in server.link.silent
    server.error = HistoryRefused(Error("unknown_op", "op: got movers"))
    server.after(SELDOM_S)
    assert server.link.silent == "op: got movers"
    assert server.after(0.3) == [], "an old server is not asked again and again"
