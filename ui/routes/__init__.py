"""The routes, and what their answers and commands share."""
