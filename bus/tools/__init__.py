"""Commands of ``kalshi-bus``: doctor, record, verify, ...."""
