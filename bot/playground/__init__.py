"""The playground: a local page that speaks Slack's own protocol to the same bot.

`bot.playground.server.StandIn` is Slack at the wire for the tests: the same Web API, limits and errors, without the
demo, the page or any data.
"""
