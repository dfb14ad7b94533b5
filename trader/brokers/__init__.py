"""Brokers: what carries orders out. `base` says what each can do; this build has the one that plays."""
