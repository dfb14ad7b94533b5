"""Kalshi's JSON: bytes of the exchange in, records out, and the same JSON back out. The one place for both.

Nothing is lost on the way. A record's `raw` keeps every member that Kalshi sent, unknown ones too, each
value byte for byte; only the members of a market that move while it trades (`read.QUOTE_MEMBERS`) live in
the `Quote`, as exact integers. Money never passes through a float.

A record that breaks Kalshi's contract raises `BadRecord` naming field, value and what was expected, so
that the caller can quarantine it alone. A crossed or one-sided quote is valid data: `markets.book` and the
scanner judge it.

Source: Kalshi API reference, spec 3.34.0 (October 2026), and recorded payloads of June to August 2026.
"""
