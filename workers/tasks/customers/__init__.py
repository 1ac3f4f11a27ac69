"""Tasks about customers."""
