"""Loads strategies and sources of fair values that the settings name: built in, installed, or in a file."""
