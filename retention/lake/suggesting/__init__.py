"""Propose a map for a file without one."""
