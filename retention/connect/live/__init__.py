"""Live events of the shop: check them and keep them until the lake has them."""
