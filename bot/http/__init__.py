"""Answer HTTP: Slack, webhooks, live events, the read API, health and metrics."""
