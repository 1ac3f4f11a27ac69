"""What is a URL, and what the path of a file."""


def is_url(place: str) -> bool:
    """Whether it names its scheme, as databases and object stores do; a path of this machine does not."""
    return "://" in place
