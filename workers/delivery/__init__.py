"""Render, store and send Slack messages."""
