"""Strategies and sources of fair values as settings name them: built in, installed, or in a file."""
