"""What decides: one log of inputs in, decisions out. Pure."""
