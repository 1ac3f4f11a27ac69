"""Tasks about models."""
