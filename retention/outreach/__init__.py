"""Send campaign e-mails and track consent and bounces.

`adapter` defines the adapter interface. `smtp` and `webhook` implement it. `sends` holds one row
per e-mail. `dispatch` sends due rows. `consent` holds unsubscribes.
"""
