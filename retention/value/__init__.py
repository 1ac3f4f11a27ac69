"""Models of how often customers order and how much they spend.

Gamma-Gamma models the spend per order. All are vectorised over customers.
"""
