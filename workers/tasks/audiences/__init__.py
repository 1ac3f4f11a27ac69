"""Tasks about audiences and alerts."""
