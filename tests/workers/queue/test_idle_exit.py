"""Idle children of workers exit to free their memory."""

import subprocess
import sys
import time

import pytest
from billiard.pool import EX_RECYCLE

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
