"""A recorded session, replayed through the real snapshot server, dashboard and trader."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from bus.protocol.messages import Envelope
from bus.tape.file import Keyframe, Recording
from bus.tape.tape import messages
from tests.e2e.conftest import START_S, Stack, get
from tests.support import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

Truth = dict[int, str]
SAMPLES = 25


def size_of(path: Path) -> int:
    return sum(segment.stat().st_size for segment in path.iterdir())


def record_session(stack: Stack, path: Path) -> Truth:
    """Record a few commits and streamed changes; return the publisher's own digests by number."""
    stack.start("simulator", "publisher", "snapshot_server")
    stack.wait_health("ok", START_S)
    recorder = stack.runner.start("bus", "record", str(path))
    recorder.wait_event("feed.live", START_S)
    eventually(lambda: size_of(path) > 20_000, START_S, "the recording has begun")
    truth: Truth = {}

    def sampled() -> bool:
        if answer := stack.ask("state", "digest"):
            truth[answer["seq"]] = answer["digest"]
        return len(truth) >= SAMPLES

    eventually(sampled, 2 * START_S, "the session goes on")
    eventually(
        lambda: any(one.seq > max(truth) for one in messages_of(path)), START_S, "all of it is on disk"
    )
    assert recorder.stop() == 0
    for name in ("snapshot_server", "publisher", "simulator"):
        assert stack.processes.pop(name).stop() == 0
    return truth


def messages_of(path: Path) -> list[Envelope]:
    return [envelope for _, envelope in messages(Recording(path))]


def said(path: Path) -> list[tuple[int, int, str, int, list[bytes]]]:
    """The content of a recording, without the epoch."""
    return [
        (one.seq, one.prev, topic, one.published_ns, [bytes(raw) for raw in one.records])
        for topic, one in messages(Recording(path))
    ]


class Replay:
    """The running replay, and the state of the processes that follow it."""

    def __init__(self, stack: Stack, path: Path) -> None:
        self.stack = stack
        stack.processes["replay"] = stack.runner.start("bus", "replay", str(path), "--paused")
        stack.start("snapshot_server", "ui", "trader")

    def tell(self, action: str, **parameters: Any) -> dict[str, Any]:
        answer = self.stack.ask("state", "replay", action=action, **parameters)
        assert answer, action
        return answer

    def heard(self) -> int:
        """How many messages the snapshot server has received."""
        text = get(f"{self.stack.snapshot_url}/metrics")[1]
        found = re.search(r"^kalshi_bus_feed_messages_total (\S+)$", text, re.MULTILINE)
        assert found is not None, text
        return int(float(found[1]))

    def positions(self) -> list[tuple[int, int]]:
        """(epoch, seq) of snapshot server, dashboard and trader."""
        stack = self.stack
        return [(one["epoch"], one["seq"]) for one in (stack.health(), stack.ui_status(), stack.trader())]

    def wait_all_at(self, seq: int) -> int:
        """Wait until all three are at `seq` of one epoch; return the epoch."""

        def epoch() -> int:
            (epoch, at), *others = self.positions()
            return epoch if at == seq and all(other == (epoch, at) for other in others) else 0

        return eventually(epoch, START_S, f"all are at {seq}")


def targets(path: Path, truth: Truth) -> list[tuple[int, int]]:
    """Return (number, time in ms) of places where a seek ends just after a number in `truth`."""
    recorded = messages_of(path)
    found = []
    for before, after in itertools.pairwise(recorded):
        later_ms = after.published_ns // 1_000_000
        if before.seq in truth and later_ms > before.published_ns // 1_000_000:
            found.append((before.seq, later_ms))
    return found


def test_replay_through_the_real_processes(stack: Stack) -> None:
    path, again = stack.runner.folder / "day.mcap", stack.runner.folder / "again.mcap"
    truth = record_session(stack, path)
    recorded = messages_of(path)
    begin_ms, end_ms = (recorded[at].published_ns // 1_000_000 for at in (0, -1))
    places = targets(path, truth)
    assert len(places) >= 10, "places to seek to"

    stack.runner.env["KALSHI_BUS_DATA_DIR"] = str(stack.runner.folder / "replayed")
    replay = Replay(stack, path)
    stack.wait_working(what="everything works behind a replay")
    health = stack.health()
    assert (health["source"], stack.ui_status()["source"]) == ("replay", "replay")
    page = get(f"{stack.ui_url}/")[1]
    assert "REPLAY</span>" in page
    assert "A recording is being played back" in page

    # At the recorded pace: the time is the recording's, and nothing is old.
    replay.tell("resume")
    for name in ("first", "later"):
        seq = stack.health()["seq"]
        eventually(lambda seq=seq: stack.health()["seq"] > seq + 5, START_S, f"it plays: {name}")  # type: ignore[misc]
        assert stack.health()["status"] == "ok"
    now_ms = stack.trader()["now"] * 1_000
    assert begin_ms - 2_000 <= now_ms <= end_ms + 2_000
    assert abs(stack.health()["generated_at"] * 1_000 - begin_ms) < end_ms - begin_ms + 10_000

    # While paused, nothing moves, not even time.
    paused = replay.tell("pause")
    eventually(lambda: len(set(replay.positions())) == 1, what="all have received what was sent")
    eventually(lambda: round(stack.trader()["now"] * 1_000) == paused["position_ms"])
    before = replay.positions()
    heard = replay.heard()
    eventually(lambda: replay.heard() >= heard + 8, what="heartbeats go on")
    assert replay.positions() == before
    assert (
        round(stack.trader()["now"] * 1_000) == replay.tell("status")["position_ms"] == paused["position_ms"]
    )
    assert stack.trader()["state"] == "running"

    # Forward, forward and back: the session's own digests.
    ahead = [place for place in places if place[0] > before[0][1]]
    epochs = []
    for seq, to_ms in (ahead[len(ahead) // 2], ahead[-1], places[0]):
        replay.tell("seek", to_ms=to_ms)
        epochs.append(replay.wait_all_at(seq))
        health = stack.health()
        assert (health["seq"], health["digest"]) == (seq, truth[seq])
    assert before[0][0] == epochs[0] == epochs[1] < epochs[2], "only a way back is a new epoch"
    stack.wait_working(what="all works after the seeks")

    # Faster, then as fast as possible, to the end.
    replay.tell("speed", speed=10)
    replay.tell("resume")
    eventually(lambda: stack.health()["seq"] > places[0][0] + 20, START_S, "it plays faster")
    replay.tell("speed", speed="max")
    ended = eventually(lambda: (at := replay.tell("status"))["ended"] and at, START_S, "it ends")
    replay.wait_all_at(recorded[-1].seq)
    assert (ended["digest_mismatches"], ended["holes"], ended["problem"]) == (0, 0, None)
    assert ended["digests_checked"] > 0
    assert stack.health()["degraded"] == []

    # The replay's content equals the recording's.
    replay.tell("pause")
    replay.tell("seek", to_ms=0)
    first = next(item for item in Recording(path).play() if isinstance(item, Keyframe))
    replay.wait_all_at(first.head.as_of)
    recorder = stack.runner.start("bus", "record", str(again))
    recorder.wait_event("feed.live", START_S)
    eventually(lambda: again.exists() and size_of(again) > 20_000, START_S)
    control = stack.runner.start("bus", "control", "resume")
    assert control.wait() == 0, control.output()
    replay.wait_all_at(recorded[-1].seq)
    last = recorded[-1].seq
    eventually(lambda: [one.seq for one in messages_of(again)][-1:] == [last], what="all of it is on disk")
    assert recorder.stop() == 0
    assert said(again) == [one for one in said(path) if one[0] > first.head.as_of]

    # The trader has decided by the recording's time, on paper only, and can replay its decisions.
    trader = stack.trader()
    assert trader["mode"] == "paper"
    assert trader["state"] == "running"
    for order in stack.ask("trader_control", "orders")["orders"]:
        assert begin_ms - 2_000 <= order["created"] * 1_000 <= end_ms + 2_000
    verified = stack.trader_command("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
