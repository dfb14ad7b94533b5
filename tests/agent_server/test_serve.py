"""The protocol around the tools, with its own client, in this process."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
from mcp import Client
from structlog.testing import capture_logs

from agent_server.serve import CALLS_WAITING, make_server
from bus.protocol.state import Records
from tests.agent_server.seen import WINNER, Seen
from tests.agent_server.seen import seen as seen  # noqa: PLC0414  a fixture


@pytest.fixture
def answers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def said(answer: Any) -> tuple[bool, str]:
    (content,) = answer.content
    return answer.is_error, content.text


class Odd(Seen):
    """A world whose wishes raise, and whose movers wait to be released."""

    def __init__(self, seen: Seen, folder: Path) -> None:
        super().__init__(seen.state, folder)
        self.let_go = threading.Event()
        self.waits = False

    def wish(self, ticker: str) -> NoReturn:
        raise ZeroDivisionError(ticker)

    def records(self) -> Records:
        if self.waits:
            assert self.let_go.wait(30)
        return super().records()


def test_a_crashing_tool_fails_only_its_own_call_and_is_logged(
    seen: Seen, answers: ThreadPoolExecutor, tmp_path: Path
) -> None:
    async def talk() -> list[tuple[bool, str]]:
        async with Client(make_server(Odd(seen, tmp_path), answers)) as client:
            return [
                said(await client.call_tool(tool, {"ticker": WINNER}))
                for tool in ("book", "market", "nothing")
            ]

    with capture_logs() as logs:
        book, market, unknown = asyncio.run(talk())
    assert book == (True, "book: it crashed; this server's log says why")
    assert market[0] is False
    assert unknown == (True, f"tool: got 'nothing', expected one of {unknown[1].partition('one of ')[2]}")
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["tool.crashed"]


def test_excess_calls_are_refused_and_the_others_answered(
    seen: Seen, answers: ThreadPoolExecutor, tmp_path: Path
) -> None:
    odd = Odd(seen, tmp_path)
    odd.waits = True

    async def talk() -> list[tuple[bool, str]]:
        async with Client(make_server(odd, answers)) as client:
            calls = [
                asyncio.ensure_future(client.call_tool("market", {"ticker": WINNER}))
                for _ in range(CALLS_WAITING + 5)
            ]
            for refused, call in enumerate(asyncio.as_completed(calls), 1):
                assert said(await call)[0] is True
                if refused == 5:
                    odd.let_go.set()
                    break
            return [said(answer) for answer in await asyncio.gather(*calls)]

    told = asyncio.run(asyncio.wait_for(talk(), 40))
    assert sum(wrong for wrong, _ in told) == 5
    refusal = next(text for wrong, text in told if wrong)
    assert refusal == f"market: {CALLS_WAITING} calls are waiting: try again in a second"
