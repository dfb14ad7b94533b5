"""The trader's journal: what it owns, and why, on disk."""
