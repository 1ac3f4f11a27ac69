"""Run jobs: the queue, the schedule, the delivery of messages, and one task per kind of job."""
