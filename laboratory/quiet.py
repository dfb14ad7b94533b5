"""Silences the trader's log during a run, whose outcome says what matters."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL

import structlog


@contextmanager
def quiet() -> Iterator[None]:
    """Log only critical lines."""
    before = structlog.get_config()
    level = structlog.make_filtering_bound_logger(CRITICAL)
    structlog.configure(wrapper_class=level, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
