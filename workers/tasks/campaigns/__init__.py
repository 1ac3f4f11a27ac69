"""Tasks about campaigns."""
