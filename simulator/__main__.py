"""Entry point: ``python -m simulator``."""

import asyncio
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

from markets.errors import StartupError

from .options import parse
from .server import run


class _Output:
    """Standard output, as long as there is room for it: a full disk must not end the process."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stdout.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stdout.flush()


structlog.configure(
    logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Output())),
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ],
)
try:
    asyncio.run(run(parse()))
except StartupError as error:
    sys.exit(f"simulator: {error}")
