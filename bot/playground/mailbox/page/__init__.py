"""Files of the mailbox's page."""
