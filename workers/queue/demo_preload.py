"""Load what the demo's next week needs before the first job.

Without it the first *Next week* takes ten seconds: the imports take three, the catalogue and the
query of the features one each.
Only the demo does so. Elsewhere an idle worker's child stays small, see `workers.queue.idle_exit`.
"""

import gc
import importlib
import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from retention import clock
from retention.features.build import build
from retention.lake import Lake
from retention.settings import Settings
from retention.window import Window

log = logging.getLogger(__name__)

DELAY = 3.0  # seconds, in which the bot starts and opens the page
QUEUE = "batch"  # of the import and of the digest
MODULES = (
    "ibis.backends.duckdb",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "pyarrow.parquet",
    "retention.churn.model",
    "retention.churn.population",
    "retention.demo.response",
    "retention.lake.identity.links",
    "retention.lake.importing.import_files",
    "retention.lake.coverage",
    "retention.recommend.serving",
    "retention.reports.digest",
    "retention.risk.rules",
    "retention.risk.sweep",
    "skops.io",
    "workers.tasks.data.imports",
    "workers.tasks.reports.digest",
)


def is_wanted(settings: Settings, queues: Sequence[str]) -> bool:
    """Return whether a worker's child warms up: that of the demo's batch queue."""
    return settings.demo and QUEUE in queues


class WarmUp:
    """Loads modules, the catalogue and a query in the background, before or after a job."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Two threads that import the same packages can see half of a module.
        self._lock = threading.Lock()

    def start(self) -> None:
        """Warm up soon, and return at once."""
        timer = threading.Timer(DELAY, self.load)
        timer.daemon = True
        timer.start()

    def waits(self) -> AbstractContextManager[Any]:
        """Return the context of a job: a warm-up that has begun ends first, another waits."""
        return self._lock

    def load(self) -> None:
        """Warm up now. A failure only costs time later."""
        with self._lock:
            try:
                self._load()
            except Exception:
                log.warning("could not warm up", exc_info=True)

    def _load(self) -> None:
        gc.collect()  # the import of the demo's year leaves 200 MB in cycles
        for name in MODULES:
            importlib.import_module(name)
        from retention.recommend.catalogue import catalogue

        lake = Lake.open(self._settings)
        catalogue(lake)
        build(
            lake, clock.now(), window=Window(active_within_days=None)
        )  # compiles the query, and does not run it
