"""Test that releases at the same time cannot exceed the privacy budget."""

from datetime import UTC, datetime
from threading import Barrier, Thread

from retention import clock
from retention.errors import Refused
from retention.privacy import ledger
from tests.databases import create_tables
from tests.world import change, read


def test_releases_at_the_same_time_stay_within_the_budget(database):
    clock.configure(fixed=datetime(2026, 11, 30, 9, tzinfo=UTC))
    budgeted = database.using(database.settings.model_copy(update={"privacy_budget": 1.0}))
    create_tables(database)
    threads, barrier, refused = 8, Barrier(8), []

    def run(number):
        barrier.wait()
        try:
            change(budgeted, ledger.release, "digest", f"day {number}", "U1", lambda _: [])
        except Refused:
            refused.append(number)

    running = [Thread(target=run, args=(number,)) for number in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    assert len(refused) == 4
    assert read(budgeted, ledger.summary)["spent"] == 1.0
