"""Read files and databases as rows of text."""

from retention.errors import BadInput


class NoRows(BadInput):
    """Refuse a source without rows."""
