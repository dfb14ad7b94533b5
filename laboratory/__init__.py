"""The laboratory: ideas are run over recordings and simulated weeks by the code that trades, and judged.

A composition root of its own: it alone brings trader and simulator together, and nothing imports it.
"""
