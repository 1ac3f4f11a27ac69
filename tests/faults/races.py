"""Two people decide at one instant: approve and approve, edit, reject, stop or expire.

Each has a connection of its own. One outcome stands, the other person is refused and told what
holds, and the campaign's message shows the outcome. Lost: an outcome that the log, the approvals or
the message contradict. Doubled: two outcomes.
"""

import json
import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from retention import clock
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.states import Step
from retention.db import Database, Transaction
from retention.db.tables import Approval, Assignment, Audit, Campaign, Outbox
from retention.errors import Refused
from tests.faults import killed_jobs
from tests.faults.desk_steps import AUTHOR, CUSTOMERS, LEAD, SECOND
from tests.faults.frame import Counts
from tests.retention.campaigns.samples import audience_rows, store_draft
from tests.workers.harness import CHANNEL, grant
from tests.world import add, change, one, scalars
from workers import action_ids
from workers.campaigns import decisions, due_steps, messages
from workers.delivery import outbox

Deed = Callable[[Transaction, str, datetime], object]
END = {
    "campaign.approve": "approved",
    "campaign.reject": "rejected",
    "campaign.stop": "cancelled",
    "campaign.edit": "draft",
    "campaign.expire": "expired",
}


def _approve(session: Transaction, name: str, at: datetime) -> object:
    return decisions.approve(session, Step(name, LEAD, 1, at))


def _approve_too(session: Transaction, name: str, at: datetime) -> object:
    return decisions.approve(session, Step(name, SECOND, 1, at))


def _edit(session: Transaction, name: str, at: datetime) -> object:
    return decisions.edit(session, Step(name, AUTHOR, 1, at), Changes(holdout=0.2))


def _reject(session: Transaction, name: str, at: datetime) -> object:
    return decisions.reject(session, Step(name, SECOND, 1, at), "too expensive")


def _stop(session: Transaction, name: str, at: datetime) -> object:
    return decisions.stop(session, Step(name, SECOND, 1, at), "a mistake")


def _expire(session: Transaction, name: str, at: datetime) -> object:
    return due_steps.expire(session, at)


# Both deeds, and how many outcomes may stand: a stop may follow an approval, and an edit, too.
RACES: tuple[tuple[Deed, Deed, int], ...] = (
    (_approve, _approve_too, 1),
    (_approve, _edit, 2),
    (_approve, _expire, 1),
    (_approve, _reject, 1),
    (_approve, _stop, 2),
)


def count_row(injections: int, seed: int) -> Counts:
    """Run so many races, and count their outcomes."""
    chance, counts = random.Random(seed), Counts()
    with killed_jobs.installation() as (settings, database):
        people = ((AUTHOR, "analyst"), (LEAD, "approver"), (SECOND, "approver"))
        add(database, *(grant(settings, person, role) for person, role in people))
        for number in range(injections):
            first, second, most = RACES[number % len(RACES)]
            name, at = f"c{number}", clock.now()
            expires_at = _submitted(database, name, at)
            if second is _expire:  # one sees it a moment before its end, the other one after
                at = expires_at
            deeds = [first, second]
            chance.shuffle(deeds)
            made = _race(database, name, at, deeds)
            counts.inject(hit=len(made) == 2)
            _compare(database, counts, name, most, sum(made))
    return counts


def _submitted(database: Database, name: str, at: datetime) -> datetime:
    def draft(session: Transaction) -> datetime:
        people = audience_rows(CUSTOMERS, name=f"{name}x{{}}".format)
        campaign = store_draft(session, name, people, by=AUTHOR, now=at, holdout=0.5)
        outbox.put(session, messages.card_post(session, campaign), default_channel=CHANNEL)
        submitted = decisions.submit(session, Step(name, AUTHOR, 1, at))
        assert submitted.expires_at is not None
        return submitted.expires_at

    return change(database, draft)


def _race(database: Database, name: str, at: datetime, deeds: list[Deed]) -> list[bool]:
    """Run deeds at one instant; return which of them were accepted."""
    accepted: list[bool] = []
    start = threading.Barrier(len(deeds))

    def act(deed: Deed) -> None:
        moment = at - timedelta(milliseconds=1) if deed is _approve else at
        start.wait()
        try:
            result: Any = change(database, deed, name, moment)
            accepted.append(result != [])
        except Refused:
            accepted.append(False)

    threads = [threading.Thread(target=act, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return accepted


def _compare(database: Database, counts: Counts, name: str, most: int, accepted: int) -> None:
    campaign = one(database, select(Campaign).where(Campaign.id == name))
    audit = select(Audit.action).where(Audit.subject == name).order_by(Audit.id)
    actions = [action for action in scalars(database, audit) if action in END]
    counts.expect(0 < accepted <= most, f"{name}: {accepted} accepted, {actions}")
    counts.doubled += [f"{name}: {actions}"] * max(len(actions) - most, 0)
    counts.doubled += [f"{name}: {action}" for action in {*actions} if actions.count(action) > 1]
    counts.expect(len(actions) == accepted, f"{name}: {accepted} accepted, audit {actions}")
    is_explained = bool(actions) and END[actions[-1]] == campaign.state
    counts.expect(is_explained, f"{name} is {campaign.state} after {actions}")
    decided = scalars(database, select(Approval.decision).where(Approval.campaign_id == name))
    audited = [action for action in actions if action in ("campaign.approve", "campaign.reject")]
    counts.expect(len(decided) == len(audited), f"{name}: decisions {decided}, audit {actions}")
    arms = {*scalars(database, select(Assignment.arm).where(Assignment.campaign_id == name))}
    drawn = {"treatment", "control"} if campaign.state == "approved" else {"audience"}
    if campaign.state != "cancelled":
        counts.expect(arms <= drawn, f"{name} is {campaign.state} with groups {arms}")
    card = one(database, select(Outbox).where(Outbox.key == campaign.post_key))
    offers_approval = action_ids.APPROVE_CAMPAIGN in json.dumps(card.payload)
    counts.expect(not offers_approval, f"message of {name} still asks for an approval")
