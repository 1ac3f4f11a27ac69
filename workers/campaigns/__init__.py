"""Campaigns: decisions of people, due steps, and their messages in Slack."""
