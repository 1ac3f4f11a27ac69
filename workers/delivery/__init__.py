"""What reaches Slack: rendering, the outbox, the sender."""
