"""The demo's mailbox: a mail server on 127.0.0.1 and a page that shows what it received."""
