"""Evaluate recommendations on later purchases."""
