"""Scheduled imports of files, object stores and queries."""
