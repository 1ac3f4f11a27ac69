"""One thin file for each kind of job: read the request, call `retention`, say what to post. See `interface`."""
