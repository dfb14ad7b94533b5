"""What dashboard and trader must compute in the same way."""
