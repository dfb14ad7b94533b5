"""Runs say what matters in their outcome: the trader's log lines are left out while one is at work."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL

import structlog


@contextmanager
def quiet() -> Iterator[None]:
    """Let nothing but critical lines be logged."""
    before = structlog.get_config()
    level = structlog.make_filtering_bound_logger(CRITICAL)
    structlog.configure(wrapper_class=level, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
