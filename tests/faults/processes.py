"""Kill the processes of a whole desk, and let Slack fail, while people type commands.

The desk has a bot, workers, a tick, a sender and a broker. Lost: a command that was acknowledged,
or a job, that did not end as done or whose result nobody can see; a result that was published
although it was cancelled; an e-mail that never arrived though its row says so, or was not sent.
Doubled: a result, the scheduled digest or an e-mail seen more than once.
"""

import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select

from bot.playground.server import free_port
from retention import clock
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Job, Outbox, Run, Send
from retention.settings import Settings
from tests.faults import mailing
from tests.faults.frame import Counts
from tests.faults.nemesis import Nemesis
from tests.standins.slack import StandIn
from tests.workers.harness import ADMIN, CHANNEL, running, wait
from tests.world import change
from workers.delivery import outbox
from workers.job_requests import Digest
from workers.queue import jobs
from workers.schedule import tick
from workers.schedule.cadence import Cadence

ROLES = "bot", "worker", "tick", "sender"
SETTLING = 300.0  # seconds for everything to end; a doubt alone waits 30
ROUNDS_EACH = 5  # at most so many rounds for one injection: some find nothing to break


def count_row(injections: int, seed: int) -> Counts:
    """Break something so many times, let everything end, and count."""
    with mailing.mailserver() as (inbox, mail), installation(**mail) as (database, slack):
        slack.slack.web_api.hang_seconds = 12.0  # longer than the sender's patience
        _schedule_soon(database)
        mailing.begin(database, database.settings)
        with people_at_a_desk(database, slack, seed) as nemesis:
            for number in range(injections * ROUNDS_EACH):
                nemesis.round(number)
                if nemesis.injected.total() >= injections:
                    break
            is_settled = settle(database)
        counts = _compare(nemesis, slack)
        counts.expect(is_settled, "something is still under way")
        copies = mailing.counted(database, inbox)
    counts.add(Counts(0, 0, copies.doubt, copies.states.total(), copies.lost, copies.doubled))
    return counts


@contextmanager
def installation(**variables: str) -> Iterator[tuple[Database, StandIn]]:
    """Make an installation whose Slack is a stand-in; the environment names both."""
    with tempfile.TemporaryDirectory(prefix="faults") as home, StandIn.start(strict=False) as slack:
        ports = {name: str(free_port()) for name in ("RETENTION_PORT", "RETENTION_HEALTH_PORT")}
        variables |= {**ports, **slack.environment, "RETENTION_ADMINS": ADMIN}
        os.environ.update(variables)
        settings = Settings(home=Path(home), admins=ADMIN, _env_file=None)
        upgrade(settings)
        database = Database.of(settings)
        yield database, slack
        database.dispose()


@contextmanager
def people_at_a_desk(database: Database, slack: StandIn, seed: int) -> Iterator[Nemesis]:
    """Run the desk of an installation, and invite the people who type."""
    settings, port = database.settings, int(os.environ["RETENTION_PORT"])
    with running(settings, database, *ROLES) as supervisor:
        nemesis = Nemesis(settings, database, supervisor, slack, port, random.Random(seed))
        nemesis.invite()
        yield nemesis


def _schedule_soon(database: Database) -> None:
    """A digest that falls due while things break."""
    at = time.strftime("%H:%M", time.gmtime(clock.now().timestamp() + 60))
    change(database, tick.add, Digest(), Cadence(at), "UTC", channel=CHANNEL, by=ADMIN)


def settle(database: Database, *, with_digest: bool = True) -> bool:
    """Wait until nothing is under way."""

    def idle() -> bool:
        with database.reading() as session:
            to_send = session.scalar(select(Send.id).where(Send.state == "queued").limit(1))
            is_posted = not session.scalar(outbox.undelivered())
            digest = session.scalar(select(Job.id).where(Job.kind == "digest").limit(1))
            is_over = to_send is None and is_posted and (digest is not None or not with_digest)
            return is_over and not jobs.open_jobs(session)

    try:
        return bool(wait(idle, SETTLING))
    except AssertionError:
        return False


def _compare(nemesis: Nemesis, slack: StandIn) -> Counts:
    texts = Counter(message["text"] for message in slack.messages("crm"))
    shown = Counter[str]()
    for text, times in texts.items():
        if text.startswith("result of"):
            shown[text.split()[2]] += times
    with nemesis.database.reading() as session:
        states = dict(session.execute(select(Job.id, Job.state)).all())
        keys = dict(session.execute(select(Job.idem_key, Job.id)).all())
        digests = list(session.scalars(select(Job.id).where(Job.kind == "digest")))
        retried = sum(attempt > 1 for attempt in session.scalars(select(Job.attempt)))
        runs = Counter(session.scalars(select(Run.job_id)))
        stuck = Outbox.state.in_(("held", "failed"))
        held = list(session.scalars(select(Outbox.key).where(stuck)))
    counts = Counts(nemesis.injected.total(), retried, len(held))
    typed = {trigger: keys.get(f"command:{trigger}") for trigger in nemesis.acknowledged}
    for trigger, job_id in typed.items():
        counts.expect(job_id is not None, f"acknowledged command {trigger} has no job")
    unacknowledged = {job for key, job in keys.items() if key.startswith("command:nemesis.")}
    for job_id in {*nemesis.asked, *unacknowledged}:
        counts.expect(states.get(job_id) == "done", f"job {job_id}: {states.get(job_id)}")
        counts.expect_once(shown[job_id], f"result of job {job_id}")
        counts.doubled += [f"rows of job {job_id}"] * (runs[job_id] > 1)
    for job_id in nemesis.cancelled:
        is_published = shown[job_id] or runs[job_id]
        counts.expect(not is_published, f"cancelled job {job_id} was published")
    for job_id in digests[:1]:
        counts.expect_once(texts[f"digest {job_id}"], f"digest {job_id}")
    counts.expect_once(len(digests), "the scheduled digest")
    counts.hit = min(counts.injections, _struck(nemesis))
    return counts


def _struck(nemesis: Nemesis) -> int:
    """Return how many faults struck: all but those of Slack that no call met."""
    waiting = sum(nemesis.slack.slack.faults.left.values())
    return nemesis.injected.total() - waiting
