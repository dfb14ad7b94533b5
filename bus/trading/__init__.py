"""What trader, order gateway and dashboard say to each other."""
