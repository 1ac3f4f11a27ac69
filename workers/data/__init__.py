"""Data that comes in: files, sources and publications."""
