"""Outreach: a campaign's copies to its customers, each sent once, through whatever carries them.

`contract` is what an adapter gives and gets; `smtp` and `webhook` are two; `sends` is the table in which every copy is
a row; `compose` makes the copies; `run` sends what is due. `consent` and `tokens` hold who wants no more.
"""
