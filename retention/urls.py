"""Tell URLs from file paths."""


def is_url(place: str) -> bool:
    """Return whether a place has a URL scheme, as databases and object stores do."""
    return "://" in place
