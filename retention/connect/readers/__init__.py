"""What others may read: keys of the read API, and requests for data."""
