"""Render messages, store them in the outbox and send them to Slack."""
