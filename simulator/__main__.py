"""Entry point: ``python -m simulator``."""

import asyncio
import sys

import structlog

from markets.errors import StartupError

from .options import parse
from .server import run

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
)
try:
    asyncio.run(run(parse()))
except StartupError as error:
    sys.exit(f"simulator: {error}")
