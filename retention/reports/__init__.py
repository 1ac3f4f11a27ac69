"""Digests, charts, files: data in, bytes out."""
