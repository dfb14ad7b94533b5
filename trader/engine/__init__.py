"""What decides: a log of inputs goes in, decisions come out. Pure."""
