"""A quote to start a history from."""

from markets.records import Quote, Status

BEGIN_MS = 1_790_000_000_000

A = Quote(
    "KXA-1", Status.ACTIVE, 4_000, 4_200, 5_800, 6_000, 500, 700, 4_100, 9_000, 9_000, 3_000, None, None,
    None, BEGIN_MS,
)  # fmt: skip
