"""A map proposed for a file nobody has described."""
