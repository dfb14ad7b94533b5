"""The kinds of opportunity, one module each."""
