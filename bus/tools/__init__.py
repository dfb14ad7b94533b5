"""The commands of ``python -m bus``."""
