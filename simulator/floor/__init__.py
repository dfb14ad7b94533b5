"""The exchange itself, pure: time, what is listed, the truth, quotes and trades."""
