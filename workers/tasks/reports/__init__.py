"""Tasks that report."""
