"""A home made by an old version, and tests that today's code still understands everything in it."""
