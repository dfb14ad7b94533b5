"""Orders and money of the simulated exchange: one book a market, accounts, fees, settlement. Pure.

Written apart from `markets/` on purpose: it shares units and nothing else with the code that it checks.
"""
