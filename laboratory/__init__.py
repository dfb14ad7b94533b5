"""The laboratory: runs ideas over recordings and simulated weeks, with the trading code itself.

It is a composition root: it alone brings trader and simulator together, and nothing imports it.
"""
