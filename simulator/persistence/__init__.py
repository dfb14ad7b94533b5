"""How an exchange outlives its process: what is asked of it is logged, and all of it saved now and then."""
