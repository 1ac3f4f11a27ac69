"""A job that works ``top`` units of a tenth of a second, and fails with 13 of them."""

import time

from workers.tasks.interface import Outcome, Post


def run(request, context):
    if request.top == 13:
        raise ZeroDivisionError("secret detail")
    for unit in range(request.top):
        context.progress(unit, request.top, "scoring customers")
        time.sleep(0.1)
    shown = {"sentence": f"result of {context.job_id} ({request.top})"}
    return Outcome({"units": request.top}, (Post("job/refused", shown),), runs=("scores",))
