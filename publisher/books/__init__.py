"""Order books and price history: which are worth asking for, and what they cost."""
