"""Back up, restore and re-key an installation."""
