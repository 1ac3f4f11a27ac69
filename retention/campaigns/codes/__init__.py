"""Coupon codes: make them, keep them at the shop, and judge their use."""
