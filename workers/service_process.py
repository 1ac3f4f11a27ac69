"""Run the tick, the sender or the live path as a process.

Usage: ``python -m workers.service_process tick|sender|live``.
"""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from retention import logs, traces
from retention.db import Database
from retention.settings import Settings, load_settings_or_exit, warn_of_short_keys
from workers.delivery.sender import Sender
from workers.live import live_events
from workers.queue import live_processes, reconcile
from workers.schedule import due_shop_checks, tick

log = logging.getLogger(__name__)


def run_tick(settings: Settings, stop: threading.Event) -> None:
    """Run the reconciler and the schedules at their intervals."""
    database = Database.of(settings)
    rounds: list[tuple[float, Callable[[], object]]] = [
        (1.0, lambda: reconcile.end_cancelled(database)),
        (5.0, lambda: reconcile.release_dead(database)),
        (5.0, lambda: reconcile.republish(database)),
        (60.0, lambda: reconcile.kill_silent(database)),
        (2.0, lambda: due_shop_checks.submit_due(database)),
        (20.0, lambda: tick.tick(database)),
        (live_processes.REPORT_EVERY, lambda: live_processes.report(database, "tick")),
        (3600.0, lambda: reconcile.tidy(database)),
    ]
    due = [0.0] * len(rounds)
    while not stop.is_set():
        for number, (every, act) in enumerate(rounds):
            if time.monotonic() >= due[number]:
                due[number] = time.monotonic() + every
                _run_round(act)
        stop.wait(0.5)


def run_sender(settings: Settings, stop: threading.Event) -> None:
    """Deliver the outbox and report every few seconds."""
    database = Database.of(settings)
    reporter = live_processes.keep_reporting(database, "sender", stop)
    Sender(database).run(stop)
    reporter.join(timeout=5)


def _run_round(act: Callable[[], object]) -> None:
    """Run one round and log its errors.

    A database that is down or one bad row must not end the process.
    """
    try:
        act()
    except SQLAlchemyError as error:
        log.warning("waiting for the database: %s", error)
    except Exception:
        log.exception("a round of the tick failed; the next one tries again")


def main(argv: list[str]) -> int:
    """Run one service until SIGTERM or Ctrl-C."""
    run = {"tick": run_tick, "sender": run_sender, "live": live_events.run}[argv[0]]
    settings = load_settings_or_exit()
    logs.configure(form=settings.log_format)
    warn_of_short_keys(settings)
    traces.service = f"retention-{argv[0]}"
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with suppress(KeyboardInterrupt):
        run(settings, stop)
    traces.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
