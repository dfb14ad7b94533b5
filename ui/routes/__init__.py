"""The routes, and what answers and commands have in common."""
