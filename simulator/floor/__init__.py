"""The exchange itself, pure: time, listings, the truth, quotes and trades."""
