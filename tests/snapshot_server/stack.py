"""A snapshot server as a process, and the venue that it follows."""

import http.client
import json
from typing import Any

import zmq

from bus.ask import ask
from bus.protocol.messages import CycleEnd
from bus.protocol.writer import Change, Writer
from tests.snapshot_server.venue import Catalogue, Venue
from tests.support import Process, Runner, eventually

COUNT = 300
Context = zmq.Context[Any]


class Stack:
    """A venue and a snapshot server that follows it."""

    def __init__(self, runner: Runner, context: Context) -> None:
        runner.run_dir.mkdir(mode=0o700, exist_ok=True)
        self.runner = runner
        self.context = context
        self.query = f"ipc://{runner.run_dir}/query.sock"
        self.catalogue: Catalogue | None = None

    def venue(self) -> Venue:
        return Venue(self.context, f"ipc://{self.runner.run_dir}/feed.sock", self.state)

    @property
    def state(self) -> str:
        return f"ipc://{self.runner.run_dir}/state.sock"

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.runner.snapshot_port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def read(self, path: str) -> int:
        """Take an answer and return its status; what it says would hold up the other threads of the test."""
        connection = http.client.HTTPConnection("127.0.0.1", self.runner.snapshot_port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            while response.read(65_536):
                pass
            return response.status
        finally:
            connection.close()

    def health(self) -> dict[str, Any]:
        try:
            health: dict[str, Any] = self.get("/health")[1]
        except OSError:
            return {"status": "down"}
        return health

    def wait(self, status: str) -> dict[str, Any]:
        return eventually(lambda: (h := self.health())["status"] == status and h, what=f"status {status}")

    def ask(self, op: str, **question: Any) -> dict[str, Any]:
        return ask(self.context, self.query, {"op": op, "id": 7, **question}, 10_000)


Served = tuple[Stack, Venue, Writer, Catalogue, Process]


def publish(venue: Venue, writer: Writer, changes: list[Change], cycle: CycleEnd) -> int:
    """Publish a commit; return its last number."""
    venue.do(lambda server: server.send(writer.commit(changes, cycle, 0, cycle.ended_ms * 1_000_000)))
    return writer.state.seq
