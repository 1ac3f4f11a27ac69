"""A job that works until it is cancelled."""

import time


def run(request, context):
    while True:
        context.progress(1, 2, "choosing items")
        time.sleep(0.05)
