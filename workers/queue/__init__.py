"""The queue: submit, claim, run, repair and limit jobs."""
