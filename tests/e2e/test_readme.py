"""The README's examples work as printed."""

import re
import sys

import pytest

from tests.e2e.conftest import START_S, Stack
from tests.support import ROOT, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_ten_line_client_prints_the_feed(stack: Stack) -> None:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"<!-- client -->\n```python\n(.*?)```\n<!-- /client -->", readme, re.DOTALL)
    assert found is not None
    program = found[1]
    assert len([line for line in program.splitlines() if line.strip()]) == 10
    # The example uses the project's .run; this stack's run directory is elsewhere.
    program = program.replace("ipc://.run/", f"ipc://{stack.runner.run_dir}/")

    stack.start("simulator", "publisher")
    script = stack.runner.folder / "client.py"
    script.write_text(program)
    client = stack.runner.start_command([sys.executable, str(script)])
    lines = eventually(
        lambda: [line for line in client.output().splitlines() if " quote [" in line],
        START_S,
        "quotes are printed",
    )
    seq, topic, kind, record = lines[0].split(" ", 3)
    assert int(seq) > 0
    assert topic.startswith("md.KX")
    assert topic.endswith(".")
    assert kind == "quote"
    assert re.match(r"\['KX[^']+', '(active|initialized|closed|determined|finalized)', \d+, \d+", record)
    assert client.popen.poll() is None
