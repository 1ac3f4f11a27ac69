"""Kill each step of the desk at a random statement, commit or call, and count."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.faults import killed_jobs
from tests.faults.crash_points import Act, Forks, die
from tests.faults.desk_steps import Desk, slack_process
from tests.faults.frame import Counts

DRAIN_EVERY = 25  # injections


@contextmanager
def desk_with_slack(chance: random.Random, act: Act = die) -> Iterator[Desk]:
    """Yield a desk whose steps break, with a Slack in another process."""
    with slack_process() as environment:
        os.environ.update({**environment, "RETENTION_ADMINS": "U0ADMIN"})
        url = urlsplit(environment["SLACK_API_URL"])
        with killed_jobs.installation() as (settings, database):
            forks = Forks(settings, database, chance, act=act)
            yield Desk(forks, f"{url.scheme}://{url.netloc}")


def take_steps(desk: Desk, injections: int) -> None:
    """Take random steps until so many were struck, let everything end, and compare."""
    steps = (desk.submit, desk.run_job, desk.run_job, desk.lose_lease, desk.decide, desk.redeem)
    steps += (desk.send, desk.send, desk.send, desk.tick, desk.promote)
    drained = 0
    while desk.counts.injections < injections:
        desk.forks.chance.choice(steps)()
        if desk.counts.injections - drained > DRAIN_EVERY:
            drained = desk.counts.injections
            desk.drain()
    desk.drain()
    desk.compare()


def count_row(injections: int, seed: int) -> Counts:
    """Kill so many steps, and count."""
    with desk_with_slack(random.Random(seed)) as desk:
        take_steps(desk, injections)
        return desk.counts
