"""What dashboard and trader must compute alike."""
