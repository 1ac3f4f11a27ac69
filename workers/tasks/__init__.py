"""Hold one short module per kind of job.

Each reads the request, calls `retention` and returns the posts. See `interface`.
"""
