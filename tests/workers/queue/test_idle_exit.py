"""Idle children of workers exit to free their memory."""

import subprocess
import sys
import threading
import time

import pytest
from billiard.pool import EX_RECYCLE

from tests.workers.harness import wait
from workers.queue.idle_exit import IdleExit

CHILD = """
import time
from workers.queue import idle_exit
idle_exit.IDLE_SECONDS, idle_exit.KEEP_BELOW = {idle}, {small}
timer = idle_exit.IdleExit()
timer.stays = {stays}
with timer.job(): pass
with timer.job(): time.sleep({busy})
print("over", flush=True)
time.sleep({rest})
"""


def child(stays: bool = False, **values: float) -> tuple[int, str, float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(stays=stays, **values)], capture_output=True, text=True
    )
    return done.returncode, done.stdout.strip(), time.monotonic() - began


def test_grown_child_exits_when_idle():
    code, text, seconds = child(idle=0.2, small=0, busy=0.6, rest=60)
    assert (code, text) == (EX_RECYCLE, "over")
    assert seconds < 50


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    "kept",
    [
        {"idle": 0.1, "small": 2**40},
        {"idle": 30, "small": 0},
        {"idle": 0.1, "small": 0, "stays": True},
    ],
)
def test_small_busy_or_warmed_child_stays(kept):
    assert child(busy=0, rest=0.5, **kept)[0] == 0


def test_child_has_one_timer_however_many_jobs_it_did():
    before, own = set(threading.enumerate()), IdleExit()
    own.stays = True
    for _ in range(5):
        with own.job():
            pass
    assert wait(lambda: len(set(threading.enumerate()) - before) == 1)
    own._timer.cancel()
    own._timer.join()
