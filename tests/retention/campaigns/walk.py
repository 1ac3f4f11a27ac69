"""Walk a campaign at random and compare it with a model."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select

from retention.campaigns.lifecycle import closing, decisions, launch
from retention.campaigns.lifecycle.decisions import Changes
from retention.campaigns.lifecycle.states import (
    GO_LIVE,
    StaleCampaign,
    Step,
    find_campaign,
    move_campaign,
)
from retention.db import Database
from retention.db.tables import Assignment, Audit, Campaign
from retention.errors import Conflict, NotAllowed, Refused
from retention.risk.policy import SecondApprover
from tests.retention.campaigns.samples import NOW, audience_rows, store_draft
from tests.world import change

PEOPLE = st.sampled_from(("U0ANA", "U0LEA", "U0LEO", "U0ADM"))
BEHIND = st.sampled_from((0, 0, 0, 1))  # how many versions the person's message is behind
HOUR, CHANGE = timedelta(hours=1), Changes(holdout=0.2)
RESET = ("draft", "submitted", "approved", "scheduled", "rejected", "expired")  # by an edit
# Until they are stopped
RUNNING = ("draft", "submitted", "approved", "scheduled", "sending", "live")
DECIDED = ("approved", "scheduled", "sending", "live", "measuring", "closed")


class Life(RuleBasedStateMachine):
    """One campaign; the model beside it is written from the issue, not from the code."""

    database: ClassVar[Database]
    number: ClassVar[int] = 0

    @initialize(two=st.booleans(), submitted=st.sampled_from((True, True, False)))
    def drafted(self, two: bool, submitted: bool) -> None:
        Life.number += 1
        self.id, self.now = f"w{Life.number}", NOW
        self.state, self.version, self.deeds = "draft", 1, 1
        self.wrote, self.approved, self.needed = {"U0ANA"}, [], 2 if two else 1
        self.expires = self.clears = self.remind = self.ends = None
        self.measured = False
        rows = audience_rows(4, name=f"{self.id}-{{}}".format)
        approver = SecondApprover(discount=0.05 if two else 0.2)
        options = {"by": "U0ANA", "now": self.now, "second_approver": approver}
        change(self.database, store_draft, self.id, rows, **options)
        if submitted:
            self.submit("U0ANA", 0)

    def step(self, user: str, behind: int = 0) -> Step:
        return Step(self.id, user, self.version - behind, self.now)

    def tried(self, allowed: bool, deed: Callable[..., Any], *args: Any, deeds: int = 1) -> bool:
        """Run a step; the model says whether it must succeed or be refused."""
        try:
            change(self.database, deed, *args)
            refused = None
        except Refused as refusal:
            refused = refusal
        assert (refused is None) == allowed, (deed.__name__, args, self.state, refused)
        self.deeds += deeds * allowed
        if refused is not None:
            assert isinstance(refused, StaleCampaign | Conflict | NotAllowed | Refused)
            assert str(refused).endswith(".")
        return allowed

    @rule(hours=st.sampled_from((1, 4, 4, 24, 72, 24 * 28)))
    def time_passes(self, hours: int) -> None:
        self.now += hours * HOUR

    @rule(user=PEOPLE, behind=BEHIND)
    def submit(self, user: str, behind: int) -> None:
        allowed = self.state == "draft" and behind == 0
        if self.tried(allowed, decisions.submit, self.step(user, behind)):
            self.state, self.approved = "submitted", []
            self.expires, self.remind = self.now + 72 * HOUR, self.now + 48 * HOUR

    @rule(user=PEOPLE, behind=BEHIND)
    def approve(self, user: str, behind: int) -> None:
        allowed = (
            self.state == "submitted"
            and behind == 0
            and user not in self.wrote
            and user not in self.approved
            and self.now < self.expires
        )
        if self.tried(allowed, decisions.approve, self.step(user, behind)):
            self.approved.append(user)
            if len(self.approved) == self.needed:
                self.state, self.clears = "approved", self.now + 4 * HOUR
                self.expires, self.remind = self.clears + 72 * HOUR, None

    @rule(user=PEOPLE, behind=BEHIND, deed=st.sampled_from(("edit", "edit", "reject", "stop")))
    def say_no(self, user: str, behind: int, deed: str) -> None:
        current, step = behind == 0, self.step(user, behind)
        if deed == "reject":
            allowed = self.state == "submitted" and current
            if self.tried(allowed, decisions.reject, step, "no"):
                self.state = "rejected"
        elif deed == "stop":
            if self.tried(self.state in RUNNING, decisions.stop, step, "no"):
                self.state = "cancelled"
        elif self.tried(self.state in RESET and current, decisions.edit, step, CHANGE):
            self.state, self.approved, self.version = "draft", [], self.version + 1
            self.wrote.add(user)

    @rule(deed=st.sampled_from(("expire", "remind", "schedule")))
    def clock_ticks(self, deed: str) -> None:
        if deed == "expire":
            late = self.state in ("submitted", "approved", "scheduled") and self.now >= self.expires
            if self.tried(late, decisions.expire, self.id, self.now):
                self.state = "expired"
        elif deed == "remind":
            in_time = self.remind is not None and self.remind <= self.now < self.expires
            if self.tried(
                self.state == "submitted" and in_time, decisions.remind, self.id, self.now
            ):
                self.remind = None
        elif self.tried(
            self.state == "approved" and self.now >= self.clears,
            decisions.schedule,
            self.id,
            self.now,
        ):
            self.state = "scheduled"

    @rule(behind=BEHIND)
    def send(self, behind: int) -> None:
        in_time = self.state in ("approved", "scheduled") and self.clears <= self.now < self.expires
        again = self.state == "sending"
        steps = 0 if again else 2 if self.state == "approved" else 1
        allowed = (in_time or again) and behind == 0
        if self.tried(allowed, launch.begin_sending, self.step("U0LEA", behind), deeds=steps):
            self.state = "sending"

    @rule(deed=st.sampled_from(("live", "measure", "close")))
    def go_on(self, deed: str) -> None:
        if deed == "live":
            ends = self.now + 28 * 24 * HOUR
            if self.tried(self.state == "sending", _live, self.step("x"), ends):
                self.state, self.ends = "live", ends
        elif deed == "measure":
            again = self.state == "measuring"
            over = self.ends is not None and self.now >= self.ends
            allowed = again or (self.state == "live" and over) or self.cut_short(over)
            kept = again or self.state == "cancelled"
            step, deeds = self.step("U0LEA"), 0 if kept else 1
            if self.tried(allowed, closing.begin_measurement, step, deeds=deeds) and not kept:
                self.state = "measuring"
        elif self.tried(
            self.state == "measuring"
            or self.cut_short(self.ends is not None and self.now >= self.ends),
            closing.close_campaign,
            self.step("U0LEA"),
            {},
        ):
            self.measured = True
            self.state = "closed" if self.state == "measuring" else "cancelled"

    def cut_short(self, over: bool) -> bool:
        """Whether it was stopped while live, its window is over and it has no result."""
        return self.state == "cancelled" and over and not self.measured

    @invariant()
    def both_agree(self) -> None:
        if not hasattr(self, "id"):
            return
        with self.database.reading() as session:
            found: Campaign = find_campaign(session, self.id)
            arms = set(
                session.scalars(select(Assignment.arm).where(Assignment.campaign_id == self.id))
            )
            audited = session.scalar(select(func.count()).where(Audit.subject == self.id))
        assert (found.state, found.version) == (self.state, self.version)
        assert audited == self.deeds  # every move has its row, and what was refused has none
        if self.state in ("submitted", *DECIDED):
            assert found.approved_by == self.approved
        if self.state in DECIDED:
            assert len(set(found.approved_by)) >= self.needed
            assert not set(found.approved_by) & self.wrote
            assert arms == {"treatment", "control"}
        elif self.state != "cancelled":
            assert arms == {"audience"}


def _live(session: Any, step: Step, ends: datetime) -> None:
    move_campaign(session, step, GO_LIVE, window_ends_at=ends)


def walk(database: Database, *, examples: int) -> None:
    """Try ``examples`` random lives on this database."""
    Life.database = database
    run_state_machine_as_test(
        Life,
        settings=hypothesis_settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
