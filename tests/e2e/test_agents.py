"""An agent over stdio, with the protocol's own client and a whole stack of processes."""

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil  # type: ignore[import-untyped]
import pytest
import zmq
from mcp import Client, StdioServerParameters, stdio_client

from agent_server.words import MAX_BYTES
from bus.ask import NoAnswer, ask
from bus.protocol.messages import encode_map
from bus.sockets import MAX_ANSWER, connect, make, make_context
from bus.trading.gateway import CancelAsk, PlaceAsk
from tests.e2e.conftest import Stack
from tests.support import Runner, eventually

READS: Final = (
    "status", "search_markets", "market", "event", "book", "history", "rules", "movers", "closing_soon",
    "opportunities", "positions", "orders", "results",
)  # fmt: skip

GIVEN: Final = ("feed", "state", "query", "trader_events", "trader_agents")
"""The sockets that the process may use."""

COMMANDS: Final[tuple[dict[str, Any], ...]] = (
    {"op": "confirm"}, {"op": "cancel", "number": 1}, {"op": "close", "ticker": "X"}, {"op": "flatten"},
    {"op": "adopt", "lines": [], "word": "ADOPT"}, {"op": "pause"}, {"op": "pause", "reason": "x"},
    {"op": "kill"}, {"op": "kill", "reason": "x"}, {"op": "resume", "word": "UNLOCK"},
    {"op": "place"}, {"op": "order"}, {"op": "prepare", "confirm": True}, {"op": "confirm", "op2": "prepare"},
)  # fmt: skip

GATEWAY: Final = (
    PlaceAsk(journal="j", intents=(), source="live", confirmation="I accept real orders"),
    CancelAsk(journal="j", number=1),
)


class Agent:
    """A client, with the server that it has started in another folder."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def ask(self, tool: str, **arguments: Any) -> tuple[bool, Any]:
        """Return whether the call succeeded, and the answer: a map, or a sentence."""
        answer = await self.client.call_tool(tool, arguments)
        (content,) = answer.content
        assert content.type == "text"
        assert len(content.text.encode()) <= MAX_BYTES
        if answer.is_error:
            assert "\n" not in content.text
            return False, content.text
        return True, json.loads(content.text)

    async def told(self, tool: str, **arguments: Any) -> dict[str, Any]:
        well, answer = await self.ask(tool, **arguments)
        assert well, (tool, answer)
        assert isinstance(answer, dict)
        return answer


def server(runner: Runner, folder: Path) -> StdioServerParameters:
    # This process is given wrong addresses for the control socket and for the order gateway.
    elsewhere = {
        f"KALSHI_BUS_{name}": f"ipc://{folder}/nobody-{name.lower()}" for name in ("TRADER_CONTROL", "ORDERS")
    }
    env = {name: value for name, value in runner.env.items() if name != "KALSHI_BUS_DATA_DIR"}
    arguments = ["-m", "kalshi_bus", "mcp", "--folder", str(folder)]
    return StdioServerParameters(command=sys.executable, args=arguments, env=env | elsewhere, cwd="/")


def started() -> psutil.Process:
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # others end meanwhile
            if "mcp" in one.cmdline():
                found.append(one)
    (server,) = found
    return server


@pytest.mark.timeout(180)  # two dozen answers while a stack starts
def test_an_agent_can_read_everything_and_send_nothing_whatever_it_tries(
    runner: Runner, short_dir: Path
) -> None:
    runner.env["KALSHI_BUS_STRATEGIES"] = "value"  # buys nothing, since there are no fair values
    stack = Stack(runner)

    async def talk() -> list[dict[str, Any]]:
        with (short_dir / "agent.log").open("w") as log:
            transport = stdio_client(server(runner, short_dir), errlog=log)
            async with Client(transport) as client:
                agent = Agent(client)
                await says_that_nothing_is_there(agent)
                await asyncio.to_thread(start, stack)
                await reads(agent)
                assert started().net_connections("inet") == []
                return await prepares(agent)

    tickets = asyncio.run(asyncio.wait_for(talk(), 150))
    tries_every_socket(stack, tickets)
    eventually(lambda: stack.trader().get("state") == "running", 30, "nothing has stopped it")
    assert stack.trader().get("killed", "") is None
    assert stack.ask("trader_control", "orders")["orders"] == []

    # A person can place such an order: only the socket keeps agents from it.
    ticker = tickets[0]["buys"].rpartition(" ")[2]
    order = {"side": "yes", "count_fp": "1", "price_dollars": tickets[0]["limit_dollars"], "rest_seconds": 60}

    def placed() -> object:  # on a busy machine the data may be old for a moment
        ticket = stack.ask("trader_control", "prepare", ticker=ticker, **order).get("ticket", {})
        return stack.ask("trader_control", "confirm", ticket=ticket.get("number", 0)).get("orders")

    eventually(placed, 30, "a person's order is placed")


def start(stack: Stack) -> None:
    stack.start("simulator", "publisher", "snapshot_server", "trader")
    stack.wait_health("ok", 30)
    eventually(lambda: stack.trader().get("state") == "running", 30, "the trader trades")


async def says_that_nothing_is_there(agent: Agent) -> None:
    well, said = await agent.ask("market", ticker="A")
    assert not well
    assert "there is no data yet" in said
    assert "kalshi-bus run" in said
    well, said = await agent.ask("positions")
    assert not well
    assert "the trader does not answer" in said
    assert "there is no data yet" in (await agent.told("status"))["data"]


async def until(agent: Agent, tool: str, **arguments: Any) -> dict[str, Any]:
    """Ask until it succeeds, as its first sentence tells an agent to do."""
    for _ in range(200):
        well, answer = await agent.ask(tool, **arguments)
        if well:
            assert isinstance(answer, dict)
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError(answer)


async def reads(agent: Agent) -> None:
    listed = (await agent.client.list_tools()).tools
    prepares = {f"prepare_{what}" for what in ("order", "sale", "cancel", "flatten")}
    assert {tool.name for tool in listed} == {*READS, *prepares}
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in listed if tool.name in READS)
    busiest = await until(agent, "search_markets", text="a")
    ticker = next(row["ticker"] for row in busiest["found"] if row["kind"] == "market")
    market = await agent.told("market", ticker=ticker)
    arguments: dict[str, dict[str, Any]] = {
        "search_markets": {"text": market["yes_means"]},
        "event": {"event_ticker": market["event_ticker"]},
        **{name: {"ticker": ticker} for name in ("market", "book", "history", "rules")},
        "opportunities": {"limit": 100},
    }
    for tool in READS:
        answer = await agent.told(tool, **arguments.get(tool, {}))
        if tool not in ("positions", "orders", "results"):
            assert answer["data"].startswith("data is "), answer
            assert answer["exchange"].startswith("a simulated exchange")
    assert (await agent.told("positions"))["trader"]["mode"].startswith("play money")
    assert (await agent.told("rules", ticker=ticker))["rules"]
    assert (await agent.told("history", ticker=ticker))["changes"]
    assert (await agent.ask("market", ticker="KXNOTHING-1-A"))[0] is False
    assert (await agent.ask("confirm", ticket=1))[0] is False
    uris = [str(one.uri) for one in (await agent.client.list_resources()).resources]
    for uri in uris:
        (content,) = (await agent.client.read_resource(uri)).contents
        assert "# " in getattr(content, "text", "")


async def prepares(agent: Agent) -> list[dict[str, Any]]:
    """Have orders worked out, also for the wrong side; return the tickets, the first of which would pass."""
    passing = None
    for row in (await agent.told("closing_soon", hours=24 * 300, limit=100))["events"]:
        for market in (await agent.told("event", event_ticker=row["event_ticker"]))["markets"]:
            if passing is None and market["yes_ask"] and market["no_ask"]:
                order = {name: market[name] for name in ("ticker", "yes_means")} | {"contracts": 1}
                order |= {"side": "yes", "price_dollars": market["yes_ask"]}
                well, answer = await agent.ask("prepare_order", **order)
                if well and answer["ticket"]["risk_says"] == "would pass":
                    assert "trader confirm" in answer["note"]
                    passing = order, answer["ticket"], market["no_ask"]
        if passing is not None:
            break
    assert passing is not None, "an order that would pass"
    order, ticket, no_ask = passing
    tickets = [ticket]
    # The other outcome at this one's price, this one at the other's, and everything available.
    for wrong in (
        {"side": "no"},
        {"price_dollars": no_ask},
        {"price_dollars": "0.99", "contracts": 1_000_000},
    ):
        well, answer = await agent.ask("prepare_order", **order | wrong)
        if well:
            assert answer["sent"] is False
            tickets.append(answer["ticket"])
    flattening = await agent.told("prepare_flatten")
    assert (flattening["sent"], flattening["cancels"], flattening["sells"]) == (False, [], [])
    tickets.append(flattening["ticket"])
    assert (await agent.ask("prepare_cancel", number=7))[0] is False
    well, said = await agent.ask(
        "prepare_sale", side="no", ticker=order["ticker"], yes_means=order["yes_means"]
    )
    assert not well
    assert "holds nothing" in said
    for meant in ("not " + order["yes_means"], "", "yes"):
        well, said = await agent.ask("prepare_order", **order | {"yes_means": meant})
        assert not well
        assert "nothing was prepared" in said
    return tickets


def tries_every_socket(stack: Stack, tickets: list[dict[str, Any]]) -> None:
    raw = [
        *COMMANDS,
        *({"op": "confirm", "ticket": ticket["number"]} for ticket in tickets),
        *(msgspec.to_builtins(asked) for asked in GATEWAY),
    ]
    context = make_context()
    try:
        for name in GIVEN:
            endpoint = f"ipc://{stack.runner.run_dir}/{name}.sock"
            for question in raw:
                if name in ("feed", "trader_events"):
                    speak(context, endpoint, question)
                    continue
                try:
                    answer = ask(context, endpoint, {**question, "id": 1}, 5_000)
                except NoAnswer as error:
                    raise AssertionError(f"{name}: {question} ended the answers") from error
                assert answer["ok"] is False, (name, question, answer)
                assert answer["error"]["code"] in ("forbidden", "unknown_op", "bad_request"), answer
    finally:
        context.term()


def speak(context: "zmq.Context[Any]", endpoint: str, question: dict[str, Any]) -> None:
    """Try in every way to send something to a socket that only publishes."""
    for kind in (zmq.XSUB, zmq.SUB):
        socket = make(context, kind, MAX_ANSWER)
        connect(socket, endpoint)
        if kind == zmq.XSUB:
            for body in (encode_map(question), b"\x01" + encode_map(question), b"\x00orders."):
                socket.send(body)
        else:
            socket.subscribe(encode_map(question))
        socket.close()
