"""Recordings: writing, reading, playing and exporting what a feed said."""
