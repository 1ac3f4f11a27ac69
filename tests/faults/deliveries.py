"""Slack delivers commands, clicks and submissions twice, at once, out of order or 10 minutes late.

Each reaches the real app as a signed request. Lost: one without its effect, or a request with a
signature of ten minutes ago that is believed. Doubled: one with two effects.
"""

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr
from sqlalchemy import func, select

from bot.slack import slash
from bot.slack.app import build_app
from retention import clock
from retention.campaigns.lifecycle.states import Step
from retention.db.tables import Audit, Campaign, Job, StoredClick
from tests.bot.campaign import fill
from tests.bot.wire import ADMIN, ANALYST, LEAD, PAYLOADS, SECRET, Workspace, slash_command
from tests.faults import killed_jobs
from tests.faults.desk_steps import CUSTOMERS
from tests.faults.frame import Counts
from tests.retention.campaigns.samples import audience_rows, store_draft
from tests.standins.slack_api import Api, serve
from tests.workers.harness import grant, wait
from tests.world import add, change, scalar, scalars
from workers import action_ids
from workers.campaigns import decisions
from workers.queue import jobs

FORM = "application/x-www-form-urlencoded"
LATE = 600.0  # seconds
COPIES = 3  # of a delivery; one of them with an old signature
PEOPLE = 40
FIRST_DAY = date(2016, 1, 1)


@contextmanager
def workspace() -> Iterator[Workspace]:
    """Build the app of an installation, with people and Slack's API."""
    api = Api()
    server = serve(api)
    channel = {"id": "C0CRM", "is_member": True}
    api.answers["conversations.info"] = {"ok": True, "channel": channel}
    slash.BUDGET_SECONDS = 60
    jobs.wake = lambda *_: True
    with killed_jobs.installation() as (made, database):
        settings = made.model_copy(
            update={
                "admins": ADMIN,
                "slack_bot_token": SecretStr("xoxb-test"),
                "slack_signing_secret": SecretStr(SECRET),
                "slack_api_url": api.url,
            }
        )
        database = database.using(settings)
        roles = [(ANALYST, "analyst"), (LEAD, "approver")]
        roles += [(f"U0P{number}", "analyst") for number in range(PEOPLE)]
        add(database, *(grant(settings, person, role) for person, role in roles))
        try:
            yield Deliveries(build_app(settings, database), api, database=database)
        finally:
            server.shutdown()


class Deliveries(Workspace):
    """Delivers each request several times, and counts its effects."""

    def __init__(self, app: Any, api: Api, *, database: Any) -> None:
        super().__init__(app, api)
        self.database, self.counts, self.number = database, Counts(), 0
        self.pool = ThreadPoolExecutor(COPIES)

    def deliver(self, body: str, chance: random.Random) -> list[int]:
        """Send copies of a request, at once or one after the other; return the statuses."""
        ages = [0.0] * (COPIES - 1) + [LATE]
        chance.shuffle(ages)

        def send(age: float) -> int:
            return self.send(body, FORM, age=age).status

        at_once = chance.random() < 0.5
        statuses = list(self.pool.map(send, ages)) if at_once else [send(age) for age in ages]
        refused = [status for status, age in zip(statuses, ages, strict=True) if age]
        self.counts.expect(refused == [401], f"an old signature is answered {refused}")
        for _ in range(COPIES - 1):
            self.counts.inject()
        return statuses

    def command(self, chance: random.Random) -> None:
        """A command is one job."""
        trigger = f"trigger.{self.number}"
        day = FIRST_DAY + timedelta(days=self.number)  # or it would join an equal request
        place = {"trigger_id": trigger, "channel_id": "C0CRM"}
        self.deliver(
            slash_command(f"sweep --as-of {day}", f"U0P{self.number % PEOPLE}", **place), chance
        )
        same = select(func.count()).where(Job.idem_key == f"command:{trigger}")
        self.counts.expect_once(scalar(self.database, same), f"job of {trigger}")

    def grant(self, chance: random.Random) -> None:
        """A role that is granted is in the log once."""
        place = {"trigger_id": f"trigger.{self.number}", "channel_id": "C0CRM"}
        granted = select(func.count()).where(Audit.action == "role.grant")
        before = scalar(self.database, granted)
        text = f"role grant <@U0G{self.number}> analyst"
        self.deliver(slash_command(text, ADMIN, **place), chance)
        times = scalar(self.database, granted) - before
        self.counts.expect_once(times, f"grant of {self.number}")

    def click(self, chance: random.Random) -> None:
        """An approval counts once, and not for a version that was edited before."""
        name = self._submitted()
        self.deliver(self._click(action_ids.APPROVE_CAMPAIGN, f"{name}:1", LEAD), chance)
        self._settle()
        self._expect_once(name, "campaign.approve")

    def submission(self, chance: random.Random) -> None:
        """A window that was submitted twice stops a campaign once."""
        name = self._submitted()
        self.deliver(self._stop_window(name), chance)
        self._settle()
        self._expect_once(name, "campaign.stop")

    def out_of_order(self, chance: random.Random) -> None:
        """A stop and an approval in any order end in one state that the log explains."""
        name = self._submitted()
        bodies = [
            self._click(action_ids.APPROVE_CAMPAIGN, f"{name}:1", LEAD),
            self._stop_window(name),
        ]
        chance.shuffle(bodies)
        for body in bodies:
            self.deliver(body, chance)
        self._settle()
        state = scalar(self.database, select(Campaign.state).where(Campaign.id == name))
        self.counts.expect(state == "cancelled", f"{name} is {state} after its stop")
        self._expect_once(name, "campaign.stop")
        actions = scalars(self.database, select(Audit.action).where(Audit.subject == name))
        approvals = actions.count("campaign.approve")
        self.counts.doubled += [f"approvals of {name}"] * (approvals > 1)

    def _submitted(self) -> str:
        name = f"c{self.number}"

        def draft(session: Any) -> None:
            people = audience_rows(CUSTOMERS, name=f"{name}x{{}}".format)
            store_draft(session, name, people, by=ANALYST, now=clock.now(), holdout=0.5)
            decisions.submit(session, Step(name, ANALYST, 1))

        change(self.database, draft)
        return name

    def _click(self, action_id: str, value: str, user: str) -> str:
        payload = json.loads((PAYLOADS / "block_actions.json").read_text())
        payload["user"]["id"], payload["response_url"] = user, self.api.url + "response_url"
        at = {"action_id": action_id, "value": value, "action_ts": f"9.{self.number}"}
        payload["actions"][0] |= at
        return urlencode({"payload": json.dumps(payload)})

    def _stop_window(self, name: str) -> str:
        typed: list[str] = []

        class Recorder:
            def interact(self, recording: str, user: str, alter: Callable[[Any], None]) -> None:
                payload = json.loads((PAYLOADS / recording).read_text())
                payload["user"]["id"] = user
                alter(payload)
                typed.append(urlencode({"payload": json.dumps(payload)}))

        metadata = f"{name}:1:C0CRM"
        fill(Recorder(), action_ids.STOP_VIEW, metadata, LEAD, f"h{self.number}", reason="no")
        return typed[0]

    def _settle(self) -> None:
        waiting = select(func.count()).select_from(StoredClick)
        wait(lambda: not scalar(self.database, waiting))

    def _expect_once(self, name: str, action: str) -> None:
        same = select(Audit.id).where(Audit.subject == name, Audit.action == action)
        self.counts.expect_once(len(scalars(self.database, same)), f"{action} of {name}")


def count_row(injections: int, seed: int) -> Counts:
    """Deliver so many requests again or late, and count."""
    chance = random.Random(seed)
    with workspace() as desk:
        kinds = desk.command, desk.grant, desk.click, desk.submission, desk.out_of_order
        while desk.counts.injections < injections:
            desk.number += 1
            chance.choice(kinds)(chance)
        return desk.counts
