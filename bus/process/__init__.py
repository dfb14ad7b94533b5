"""What every process needs: settings, life, locks, logs, supervision."""
