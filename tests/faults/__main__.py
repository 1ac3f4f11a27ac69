"""``python -m tests.faults [SECONDS] [SEED]``: break everything, count what is lost or doubled.

The codes of campaigns at a shop have a run of their own (`tests.faults.shop_codes`), and so have
pulls of sources (`tests.faults.source_kills`), webhooks (`tests.faults.webhook_kills`) and tests of
variants (`tests.faults.variant_kills`).

Lost: a job that did not end as done, or whose result nobody can see, or a result that was published
although it was cancelled, or an e-mail that never arrived though its row says so, or was not sent.
A live event that was acknowledged must be in the lake once (`tests.faults.live_kills`).
Doubled: a result, the scheduled message or an e-mail seen more than once. An e-mail of which nobody
knows is neither: it is counted as in doubt.
"""

import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from retention import clock
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Job, Outbox, Run, Send
from retention.settings import Settings
from tests.faults import live_kills, mailing, shop_codes, source_kills, variant_kills, webhook_kills
from tests.faults.nemesis import Nemesis
from tests.standins.slack import StandIn
from tests.workers.harness import ADMIN, CHANNEL, running, wait
from tests.world import change
from workers.delivery import outbox
from workers.job_requests import Digest
from workers.queue import jobs
from workers.schedule import tick
from workers.schedule.cadence import Cadence

LIVE_KILLS = 200  # of the path of live events
CODE_KILLS = 50  # of the job that makes codes at a shop
PULL_KILLS = 30  # of the job that pulls a source
HOOK_KILLS = 40  # of the server and the job that webhooks go through
VARIANT_KILLS = 40  # of the jobs that send and decide a test of variants
SETTLING = 240.0  # seconds for everything to end; a doubt alone waits 30


def main(seconds: float, seed: int, kills: int = LIVE_KILLS) -> int:
    """Run it; returns 0 where nothing was lost or doubled."""
    with (
        tempfile.TemporaryDirectory(prefix="faults") as home,
        StandIn.start(strict=False) as slack,
        mailing.mailserver() as (inbox, environment),
    ):
        slack.slack.web_api.hang_seconds = 12.0  # longer than the sender's patience
        os.environ.update({**slack.environment, **environment})
        settings = Settings(home=Path(home), admins=ADMIN, _env_file=None)
        upgrade(settings)
        database = Database.of(settings)
        _schedule_soon(database, seconds)
        mailing.begin(database, settings)
        with running(settings, database, "worker", "tick", "sender") as supervisor:
            nemesis = Nemesis(settings, database, supervisor, slack, random.Random(seed))
            until, number = time.monotonic() + seconds, 0
            while time.monotonic() < until:
                nemesis.round(number)
                number += 1
            settled = _settle(database)
        copies = mailing.counted(database, inbox)
        live = live_kills.run(kills, seed)
        codes = shop_codes.count_apart(CODE_KILLS, seed)
        pulls = source_kills.count_apart(PULL_KILLS, seed)
        hooks = webhook_kills.count_apart(HOOK_KILLS, seed)
        variants = variant_kills.count_apart(VARIANT_KILLS, seed)
        apart = (codes, pulls, hooks, variants)
        return report(nemesis, slack, copies, live, apart, seconds, seed, settled)


def _schedule_soon(database: Database, seconds: float) -> None:
    """A digest that falls due while things break."""
    soon = clock.now().timestamp() + max(60.0, seconds / 2)
    at = time.strftime("%H:%M", time.gmtime(soon))
    change(database, tick.add, Digest(), Cadence(at), "UTC", channel=CHANNEL, by=ADMIN)


def _settle(database: Database) -> bool:
    def idle() -> bool:
        with database.reading() as session:
            to_send = session.scalar(select(Send.id).where(Send.state == "queued").limit(1))
            is_posted = not session.scalar(outbox.undelivered())
            return to_send is None and is_posted and not jobs.open_jobs(session)

    try:
        wait(idle, SETTLING)
    except AssertionError:
        return False
    return True


def report(
    nemesis: Nemesis,
    slack: StandIn,
    copies: mailing.Copies,
    live: live_kills.Kills,
    apart: Sequence[Any],
    seconds: float,
    seed: int,
    settled: bool,
) -> int:
    """Print the table and the verdict."""
    texts = Counter(message["text"] for message in slack.messages("crm"))
    shown = Counter({text.split()[2]: 0 for text in texts if text.startswith("result of")})
    for text, times in texts.items():
        if text.startswith("result of"):
            shown[text.split()[2]] += times
    with nemesis.database.reading() as session:
        states = dict(session.execute(select(Job.id, Job.state)).all())
        runs = Counter(session.scalars(select(Run.job_id)))
        digests = session.scalars(select(Job.id).where(Job.kind == "digest")).all()
        held = session.scalars(select(Outbox.key).where(Outbox.state.in_(("held", "failed")))).all()
        retried = sum(attempt > 1 for attempt in session.scalars(select(Job.attempt)))
    seen = {job_id: texts[f"digest {job_id}"] for job_id in digests}
    leaked = [job_id for job_id in nemesis.cancelled if shown[job_id] or runs[job_id]]
    lost = [job_id for job_id in nemesis.asked if states.get(job_id) != "done" or not shown[job_id]]
    lost += [job_id for job_id, times in seen.items() if not times]
    doubled = [job_id for job_id in {*nemesis.asked} if shown[job_id] > 1 or runs[job_id] > 1]
    doubled += [job_id for job_id, times in seen.items() if times > 1] + digests[1:]
    for name, times in sorted(nemesis.injected.items()):
        print(f"{name:32} {times:4}")
    print(
        f"{'jobs asked for':32} {len(nemesis.asked):4}   "
        f"(seed {seed}, {seconds:.0f} s, settled: {settled})"
    )
    print(
        f"{'jobs cancelled':32} {len(nemesis.cancelled):4}   "
        f"(published all the same: {len(leaked)})"
    )
    print(f"{'jobs that needed another attempt':32} {retried:4}")
    print(f"{'scheduled digests':32} {len(digests):4}")
    print(f"{'messages held or failed':32} {len(held):4}")
    print(
        f"{'e-mails of a campaign':32} {copies.states.total():4}   "
        f"(sent {copies.states['sent']}, in doubt {copies.doubt}, "
        f"lost {len(copies.lost)}, doubled {len(copies.doubled)})"
    )
    live_kills.report(live)
    for counts in apart:
        print(counts.line)
    lost, doubled = [*lost, *leaked, *copies.lost], [*doubled, *copies.doubled]
    lost, doubled = [*lost, *live.lost], [*doubled, *live.doubled]
    injections = sum(nemesis.injected.values()) + live.injected.total()
    injections += sum(counts.kills for counts in apart)
    missing = len(lost) + sum(counts.lost for counts in apart)
    surplus = len(doubled) + sum(counts.doubled for counts in apart)
    surplus += sum(getattr(counts, "unapproved", 0) for counts in apart)
    print(f"injections={injections} lost={missing} doubled={surplus}")
    return int(bool(missing or surplus))


if __name__ == "__main__":
    given = [*sys.argv[1:], *("75", "1")[len(sys.argv) - 1 :]]
    sys.exit(main(float(given[0]), int(given[1])))
