"""Customers: cards, audiences and alerts."""
