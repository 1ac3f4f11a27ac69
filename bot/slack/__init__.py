"""Answer people in Slack: commands, conversations, windows, buttons and App Home."""
