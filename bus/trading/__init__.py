"""What trader, order gateway and dashboard say to one another."""
