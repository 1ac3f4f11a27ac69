"""Serve the demo's fake shop: products, a basket and a checkout that takes codes.

The desk knows it as a Shopify shop. Its pages send live events, and its server sends orders.
"""
