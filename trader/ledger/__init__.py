"""What is owned: cash, lots, the net position and open orders. Pure."""
