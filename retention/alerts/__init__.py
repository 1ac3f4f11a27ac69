"""Alerts: conditions that people hear of once, when they become true."""
