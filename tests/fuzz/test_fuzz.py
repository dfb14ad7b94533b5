"""No bytes from outside end anything: a share of what ``make soak fuzz`` tries without end."""

import logging
import tempfile
from pathlib import Path
from random import Random
from typing import Final

import pytest
import structlog

from tests.fuzz.mutate import json_damaged, msgpack_damaged
from tests.fuzz.targets import TARGETS, fast_folder, fuzz

COUNTS: Final = {"journal": 80, "recordings": 150, "checkpoint": 150, "settings": 200, "snapshot": 500}
"""Of what is slow; of the rest MANY."""

MANY: Final = 2_000


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_is_nearly_right_raises_what_it_must_not(name: str) -> None:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with tempfile.TemporaryDirectory(prefix="kb-fuzz-", dir=fast_folder()) as folder:
            fuzz(name, 1, COUNTS.get(name, MANY), Path(folder))
    finally:
        structlog.configure(**before)


def test_the_same_seed_makes_the_same_bytes() -> None:
    for mutate, data in ((json_damaged, b'{"a":[1,"x"]}'), (msgpack_damaged, b"\x81\xa1a\x93\x01\x02\x03")):
        first = [mutate(data, Random(seed), (b"other",)) for seed in range(200)]
        assert first == [mutate(data, Random(seed), (b"other",)) for seed in range(200)]
        assert len(set(first)) > 100
