"""Messages of a session of the stream."""

import gzip
import json
from typing import Any

from tests.support import ROOT

NOW_MS = 1_790_000_000_000
DATA = ROOT / "tests" / "data" / "kalshi"


def load(name: str) -> Any:
    return json.loads(gzip.decompress((DATA / name).read_bytes()))
