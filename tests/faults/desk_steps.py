"""The steps of the desk that may be killed, over the real code, and what must hold in the end.

Jobs, the outbox with its sender, decisions about campaigns, codes and schedules. Each step can be
repeated by whoever takes it in life: another worker, a new sender, the person who got no answer.
"""

import multiprocessing
import sys
import types
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.machinery import ModuleSpec
from typing import Any

import httpx2
from sqlalchemy import select, update

from retention import clock
from retention.campaigns.codes import redemptions
from retention.campaigns.codes.redemptions import CodeUse
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.states import Step
from retention.db import Database
from retention.db.tables import (
    Approval,
    Audit,
    Campaign,
    Coupon,
    Job,
    ModelVersion,
    Outbox,
    Redemption,
    Run,
)
from tests.faults.crash_points import Forks
from tests.faults.frame import Counts
from tests.retention.campaigns.samples import approve_draft, audience_rows, go_live, store_draft
from tests.standins.slack import Script, StandIn
from tests.workers.harness import ADMIN, CHANNEL, ask, grant
from tests.world import add, change, execute, model_version, read, rows, scalar, scalars
from workers import model_decisions
from workers.campaigns import decisions, messages
from workers.delivery import outbox, slack_client
from workers.delivery.sender import Pacing, Sender
from workers.job_requests import Digest, Sweep
from workers.queue import jobs
from workers.schedule import tick
from workers.schedule.cadence import Cadence
from workers.tasks import runner
from workers.tasks.interface import Attachment, Context, Outcome, Post

QUICK = Pacing(channel_gap=0.0, recheck_after=0.0, idle_wait=0.0, max_ambiguous=1000)
AUTHOR, LEAD, SECOND = "U0ANALYST", "U0LEAD", "U0VIEWER"
PLACES = CHANNEL, ADMIN  # a channel and a direct message
CUSTOMERS = 4  # of a campaign
MOST_DRAINS = 400


def work(_request: Sweep, context: Context) -> Outcome:
    """Do the task of the jobs here: publish rows, a message and a file."""
    context.progress(1, 2, "scoring customers")
    file = Attachment(f"{context.job_id}.csv", "text/csv", b"a,b", sensitive=True)
    posts = (
        Post("job/refused", {"sentence": f"result of {context.job_id}"}),
        Post("job/refused", {"sentence": f"file of {context.job_id}"}, file=file),
    )
    return Outcome({"ok": True}, posts, runs=("scores",))


@contextmanager
def slack_process() -> Iterator[dict[str, str]]:
    """Run Slack in a process of its own, so that this one has no threads and can fork."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve_slack, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _serve_slack(pipe: Any) -> None:
    with StandIn.start(strict=False) as slack:
        pipe.send(slack.environment)
        pipe.recv()


class Desk:
    """Takes steps, crashing, and compares in the end."""

    def __init__(self, forks: Forks, slack_url: str) -> None:
        self.forks, self.database = forks, forks.database
        self.slack = Script(httpx2.Client(base_url=slack_url, timeout=30, trust_env=False))
        self.counts = Counts()
        self.jobs: list[str] = []
        self.decided: list[tuple[str, str, int]] = []  # campaign, person, version: acknowledged
        self.campaigns: list[str] = []
        self.codes: dict[str, str] = {}  # live code → report of its use
        self.days = 0  # that the schedule has seen
        self._number = 0
        name = runner.module_name("sweep")
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, loader=None)
        module.run = work  # type: ignore[attr-defined]
        sys.modules[name] = module
        for wakes in (jobs, tick.jobs):  # waking a worker is a moment between commit and publish
            wakes.wake = lambda *_: True
        people = ((AUTHOR, "analyst"), (LEAD, "approver"), (SECOND, "approver"))
        settings = forks.settings
        add(self.database, *(grant(settings, person, role) for person, role in people))

    def next_number(self) -> int:
        """Return a number that was not used yet."""
        self._number += 1
        return self._number

    def crash(self, kind: str, step: Any) -> bool:
        """Take a step that dies at a random point; return whether it died."""
        died = self.forks.crash(kind, step)
        self.counts.inject(hit=died)
        return died

    # ------------------------------------------------------------ jobs

    def submit(self) -> None:
        """Ask for a job; after a crash the person asks again with the same delivery."""
        key = f"delivery:{self.next_number()}"
        step = partial(ask, request=Sweep(), key=key)
        if self.crash("submit", step):
            self.forks.run("submit", step)
        stored = scalars(self.database, select(Job.id).where(Job.idem_key == key))
        self.counts.expect_once(len(stored), f"job of {key}")
        self.jobs += stored

    def run_job(self) -> None:
        """Run a job, and let another worker take it over after the crash."""
        waiting = scalars(self.database, select(Job.id).where(Job.state.in_(jobs.OPEN)))
        if not waiting:
            return self.submit()
        job_id = self.forks.chance.choice(sorted(waiting))
        self.crash("job", lambda database: runner.run_job(database, job_id, "t"))
        return self._end_leases()

    def lose_lease(self) -> None:
        """Let a worker that lost its lease go on writing beside its successor."""
        self.submit()
        job_id = self.jobs[-1]
        early = change(self.database, jobs.claim, job_id, "early")
        self._end_leases()
        self.forks.run("job", lambda database: runner.run_job(database, job_id, "t"))
        self.crash("stale", lambda database: runner._run_claimed(database, early))
        self.forks.run("stale", lambda database: runner._run_claimed(database, early))

    def _end_leases(self) -> None:
        running = update(Job).where(Job.state == "running")
        execute(self.database, running.values(lease_until=clock.wall(), lost=0))

    # ------------------------------------------------------------ messages

    def send(self) -> None:
        """Let the sender deliver, and die before or after any call or statement."""
        number = self.next_number()
        post = Post("job/refused", {"sentence": f"message {number}"}, key=f"message:{number}")
        change(self.database, outbox.put, post, default_channel=PLACES[number % len(PLACES)])
        self.crash("send", lambda database: Sender(database, pacing=QUICK).step())
        execute(self.database, update(Outbox).values(lease_until=clock.wall()))

    def drain(self) -> None:
        """Let all jobs end and all messages go out."""
        self._end_leases()
        for job_id in self.jobs:
            self.forks.run(
                "job", lambda database, job_id=job_id: runner.run_job(database, job_id, "t")
            )
        for _ in range(MOST_DRAINS):
            if not read(self.database, lambda session: session.scalar(outbox.undelivered())):
                break
            self.forks.run("drain", _drain)

    # ------------------------------------------------------------ decisions

    def decide(self) -> None:
        """Draft a campaign, and take a decision that is repeated if it got no answer."""
        name = f"c{self.next_number()}"
        change(self.database, _draft, name)
        self.campaigns.append(name)
        step = partial(_submit, name=name)
        if self.crash("propose", step):
            self.forks.run("propose", step)
        deed = self.forks.chance.choice((_approve, _approve, _reject, _stop))
        if self.crash(deed.__name__, partial(deed, name=name)):
            self.forks.run(deed.__name__, partial(deed, name=name))
        audit = scalars(self.database, select(Audit.action).where(Audit.subject == name))
        state = scalar(self.database, select(Campaign.state).where(Campaign.id == name))
        action = deed.__name__.strip("_")
        self.counts.expect_once(audit.count(f"campaign.{action}"), f"{action} of {name} is audited")
        wanted = {"approve": "approved", "reject": "rejected", "stop": "cancelled"}[action]
        self.counts.expect(state == wanted, f"{name} is {state} after {action}")
        if action != "stop":
            stored = select(Approval.user_id).where(Approval.campaign_id == name)
            times = len(scalars(self.database, stored))
            self.counts.expect_once(times, f"{action} of {name} is stored")
        replies = Outbox.key.startswith(f"campaign:{name}:{wanted}")
        shown = len(scalars(self.database, select(Outbox.key).where(replies)))
        self.counts.expect_once(shown, f"{action} of {name} is shown")

    def promote(self) -> None:
        """Promote a model; the person repeats a promotion without an answer."""
        version = f"v{self.next_number()}"
        add(self.database, model_version(self.forks.settings, version))
        step = partial(_promote, version=version)
        if self.crash("promote", step):
            self.forks.run("promote", step)
        audit = select(Audit.id).where(Audit.action == "model.promote", Audit.subject == version)
        self.counts.expect_once(len(scalars(self.database, audit)), f"promotion of {version}")
        champions = select(ModelVersion.version).where(ModelVersion.state == "champion")
        in_use = scalars(self.database, champions)
        self.counts.expect(in_use == [version], f"in use after {version}: {in_use}")

    # ------------------------------------------------------------ codes

    def redeem(self) -> None:
        """Report the use of a code; the till repeats a report without an answer."""
        if not self.codes:
            self._issue()
        code, report = self.codes.popitem()
        step = partial(_redeem, code=code, report=report)
        if self.crash("redeem", step):
            self.forks.run("redeem", step)
        self.forks.run("redeem", step)
        used = select(Redemption.outcome).where(Redemption.code == code)
        outcomes = Counter(scalars(self.database, used))
        self.counts.expect_once(outcomes["redeemed"] + outcomes["ok"], f"use of {code}: {outcomes}")

    def _issue(self) -> None:
        """Make a campaign live, dying in between, and count its codes."""
        name = f"live{self.next_number()}"
        people = audience_rows(CUSTOMERS, name=f"{name}x{{}}".format)
        now = clock.now()
        approve_draft(self.database, name, people, now, holdout=0)
        step = partial(go_live, campaign_id=name, now=now)
        if self.crash("go live", step):
            self.forks.run("go live", step)
        issued = select(Coupon.customer_id, Coupon.code, Coupon.state)
        codes = rows(self.database, issued.where(Coupon.campaign_id == name))
        for customer in {row.customer_id for row in codes}:
            own = [row for row in codes if row.customer_id == customer]
            self.counts.expect_once(len(own), f"code of {customer}")
        self.counts.expect(len(codes) == CUSTOMERS, f"{name} has {len(codes)} codes")
        self.counts.expect({row.state for row in codes} == {"issued"}, f"codes of {name}")
        self.codes |= {row.code: f"order of {row.customer_id}" for row in codes}

    # ------------------------------------------------------------ schedules

    def tick(self) -> None:
        """Let a schedule fall due, and the tick die at it and start again."""
        self.days += 1
        now = datetime(2026, 3, 2, 8, tzinfo=UTC) + timedelta(days=self.days)
        fixed = self.forks.settings.model_copy(update={"now": now})
        if self.days == 1:
            clock.configure(fixed=now - timedelta(days=1))
            change(
                self.database, tick.add, Digest(), Cadence("07:00"), "UTC", channel=None, by=ADMIN
            )
            clock.configure()
        forks = replace(self.forks, settings=fixed)
        self.counts.inject(hit=forks.crash("tick", tick.tick))
        for _ in range(2):
            forks.run("tick", tick.tick)
        clock.configure()
        key = f"schedule:1:{now.date()}"
        fired = scalars(self.database, select(Job.id).where(Job.idem_key == key))
        self.counts.expect_once(len(fired), f"slot of {now.date()}")

    # ------------------------------------------------------------ in the end

    def compare(self) -> None:
        """Compare what Slack shows with the jobs."""
        texts = Counter(message["text"] for message in self.slack.messages("crm"))
        states = dict(rows(self.database, select(Job.id, Job.state)))
        published = Counter(scalars(self.database, select(Run.job_id)))
        for job_id in self.jobs:
            self.counts.expect(states[job_id] == "done", f"job {job_id} is {states[job_id]}")
            self.counts.expect_once(published[job_id], f"rows of {job_id}")
            for part in ("result", "file"):
                self.counts.expect_once(texts[f"{part} of {job_id}"], f"{part} of {job_id}")
        for key, times in self._posted().items():
            self.counts.expect_once(times, f"message {key}")
        stuck = scalars(self.database, select(Outbox.key).where(Outbox.state.in_(outbox.STUCK)))
        self.counts.doubt += len(stuck)

    def _posted(self) -> Counter[str]:
        """Return how often Slack has each message that was sent to no thread."""
        web = slack_client.client(self.database)
        sent = Outbox.state == "sent", Outbox.kind == "message", Outbox.thread_key.is_(None)
        messages = rows(self.database, select(Outbox.key, Outbox.channel_id).where(*sent))
        times = Counter({key: 0 for key, _ in messages})
        for channel in {channel for _, channel in messages}:
            cursor: str | None = ""
            while cursor is not None:
                page = web.conversations_history(
                    channel=channel, include_all_metadata=True, limit=200, cursor=cursor or None
                )
                for message in page["messages"]:
                    metadata = message.get("metadata") or {}
                    times[metadata.get("event_payload", {}).get("key", "")] += 1
                cursor = (page.get("response_metadata") or {}).get("next_cursor") or None
        del times[""]
        return times


def _drain(database: Database) -> None:
    sender = Sender(database, pacing=QUICK)
    while sender.step():
        pass


def _draft(session: Any, name: str) -> None:
    people = audience_rows(CUSTOMERS, name=f"{name}x{{}}".format)
    campaign = store_draft(session, name, people, by=AUTHOR, now=clock.now(), holdout=0.5)
    outbox.put(session, messages.card_post(session, campaign), default_channel=CHANNEL)


def _submit(database: Database, name: str) -> None:
    change(database, decisions.submit, Step(name, AUTHOR, 1))


def _approve(database: Database, name: str) -> None:
    change(database, decisions.approve, Step(name, LEAD, 1))


def _reject(database: Database, name: str) -> None:
    change(database, decisions.reject, Step(name, LEAD, 1), "too expensive")


def _stop(database: Database, name: str) -> None:
    change(database, decisions.stop, Step(name, LEAD, 1), "a mistake")


def _edit(database: Database, name: str) -> None:
    change(database, decisions.edit, Step(name, AUTHOR, 1), Changes(holdout=0.2))


def _promote(database: Database, version: str) -> None:
    usable = model_decisions.UsabilityCheck(version)
    change(database, model_decisions.promote, version, ADMIN, usable)


def _redeem(database: Database, code: str, report: str) -> None:
    use = CodeUse(code, clock.now(), "http", order_id=report, key=report)
    change(database, redemptions.redeem, [use])
