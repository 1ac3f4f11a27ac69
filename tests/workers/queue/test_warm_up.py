"""Test what the demo's worker loads before its first job."""

import subprocess
import sys
import threading

import pytest

from retention.settings import Settings
from workers.app import TRAINING
from workers.queue.demo_preload import WarmUp, is_wanted

DIGEST = """
import sys
from retention.db import Database
from retention.settings import Settings
from workers.queue.demo_preload import WarmUp

settings = Settings(home=sys.argv[1], demo=True, _env_file=None)
WarmUp(settings).load()
loaded = set(sys.modules)
from retention.lake import Lake
from retention.reports.digest import digest

digest(Lake.open(settings), Database.of(settings)).html(settings)
missing = {name for name in set(sys.modules) - loaded if name.startswith(("retention", "workers"))}
print(" ".join(sorted(missing)))
"""


class Loading(WarmUp):
    """A warm-up that loads nothing, for as long as the test wants."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.loaded = 0
        self.began, self.may_end = threading.Event(), threading.Event()

    def _load(self) -> None:
        self.began.set()
        self.may_end.wait(10)
        self.loaded += 1


def run_job(warm_up: WarmUp) -> None:
    with warm_up.waits():
        pass


@pytest.mark.parametrize(
    ("demo", "queues", "wanted"),
    [
        (True, ("batch",), True),
        (True, ("interactive", "batch", TRAINING), True),
        (True, ("interactive",), False),
        (True, (TRAINING,), False),
        (False, ("batch",), False),
    ],
)
def test_only_the_demos_batch_worker_warms_up(settings, demo, queues, wanted):
    """An idle worker of a shop stays small."""
    assert is_wanted(settings.model_copy(update={"demo": demo}), queues) is wanted


@pytest.mark.nightly
def test_digest_after_the_warm_up_loads_no_further_module(shop_copy):
    program = [sys.executable, "-c", DIGEST, str(shop_copy.settings.home)]
    run = subprocess.run(program, check=True, capture_output=True, text=True)
    assert run.stdout.strip() == ""


def test_job_waits_for_a_warm_up_that_has_begun(settings):
    warm_up = Loading(settings)
    threading.Thread(target=warm_up.load).start()
    assert warm_up.began.wait(10)
    job = threading.Thread(target=run_job, args=(warm_up,))
    job.start()
    assert job.is_alive()
    warm_up.may_end.set()
    job.join(10)
    assert warm_up.loaded == 1


def test_warm_up_waits_for_a_job_and_then_loads(settings):
    """After the import of the demo's data, the first *Next week* finds everything loaded."""
    warm_up = Loading(settings)
    warm_up.may_end.set()
    loading = threading.Thread(target=warm_up.load)
    with warm_up.waits():
        loading.start()
        assert not warm_up.began.wait(0.1)
    loading.join(10)
    assert warm_up.loaded == 1


def test_failed_warm_up_stops_no_job(settings, monkeypatch, caplog):
    monkeypatch.setattr("workers.queue.demo_preload.MODULES", ("retention.no_such_module",))
    warm_up = WarmUp(settings)
    warm_up.load()
    run_job(warm_up)
    assert "could not warm up" in caplog.text
