"""How an exchange outlives its process: requests are logged, and now and then all of it is saved."""
