"""Orders and money of the simulated exchange: a book per market, accounts, fees, settlement. Pure.

Deliberately written apart from `markets/`: it shares nothing but units with the code that it checks.
"""
