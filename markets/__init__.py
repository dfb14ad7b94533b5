"""The pure domain: exact units, typed records, Kalshi's JSON, fees, match timing, opportunities.

Nothing here reads a clock, draws a random number or touches a socket or file.
"""
