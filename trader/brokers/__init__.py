"""Brokers carry orders out. `base` says what each of them can do; this build has the paper broker only."""
