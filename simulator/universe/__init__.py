"""What the exchange lists: recorded payloads turned into templates, and clones of them."""
