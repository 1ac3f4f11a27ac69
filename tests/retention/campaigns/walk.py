"""Walk a campaign at random and compare it with a model."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
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

from retention.campaigns import approval, closing, launch
from retention.campaigns.approval import Changes
from retention.campaigns.draft import Draft, store
from retention.campaigns.states import StaleCampaign, find_campaign, move_campaign
from retention.db import Database
from retention.db.tables import Assignment, Audit, Campaign
from retention.errors import Conflict, NotAllowed, Refused
from retention.risk.policy import SecondApprover
from retention.settings import Settings
from tests.retention.campaigns.samples import a_body

PEOPLE = st.sampled_from(("U0ANA", "U0LEA", "U0LEO", "U0ADM"))
BEHIND = st.sampled_from((0, 0, 0, 1))  # how many versions the person's message is behind
HOUR, CHANGE = timedelta(hours=1), Changes(holdout=0.2)
RESET = ("draft", "submitted", "approved", "scheduled", "rejected", "expired")  # by an edit
RUNNING = (
    "draft",
    "submitted",
    "approved",
    "scheduled",
    "sending",
    "live",
)  # until they are stopped
DECIDED = ("approved", "scheduled", "sending", "live", "measuring", "closed")


class Life(RuleBasedStateMachine):
    """One campaign; the model beside it is written from the issue, not from the code."""

    database: ClassVar[Database]
    settings: ClassVar[Settings]
    number: ClassVar[int] = 0

    @initialize(two=st.booleans(), submitted=st.sampled_from((True, True, False)))
    def drafted(self, two: bool, submitted: bool) -> None:
        Life.number += 1
        self.id, self.now = f"w{Life.number}", datetime(2025, 5, 1, 9, tzinfo=UTC)
        self.state, self.version, self.deeds = "draft", 1, 1
        self.wrote, self.approved, self.needed = {"U0ANA"}, [], 2 if two else 1
        self.expires = self.clears = self.remind = self.ends = None
        self.measured = False
        rows = [
            {
                "customer_id": f"{self.id}-{n}",
                "arm": "audience",
                "bucket": n * 1400,
                "tier": "high",
                "churn_probability": 0.6,
                "expected_value": 50.0,
                "offer": {"action": "coupon", "discount": 0.1},
            }
            for n in range(4)
        ]
        body = a_body(second_approver=SecondApprover(discount=0.05 if two else 0.2))
        with self.database.transaction() as session:
            drafted = Draft(self.id, "salt", "May", None, body, rows)
            store(
                session,
                self.settings,
                drafted,
                author="U0ANA",
                channel=None,
                post_key="k",
                now=self.now,
            )
        if submitted:
            self.submit("U0ANA", 0)

    def tried(self, allowed: bool, deed: Callable[..., Any], *args: Any, deeds: int = 1) -> bool:
        """Run a step; the model says whether it must succeed or be refused."""
        try:
            with self.database.transaction() as session:
                deed(session, self.settings, self.id, *args)
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
        if self.tried(allowed, approval.submit, self.version - behind, user, self.now):
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
        if self.tried(allowed, approval.approve, self.version - behind, user, self.now):
            self.approved.append(user)
            if len(self.approved) == self.needed:
                self.state, self.clears = "approved", self.now + 4 * HOUR
                self.expires, self.remind = self.clears + 72 * HOUR, None

    @rule(user=PEOPLE, behind=BEHIND, deed=st.sampled_from(("edit", "edit", "reject", "stop")))
    def say_no(self, user: str, behind: int, deed: str) -> None:
        current, seen = behind == 0, self.version - behind
        if deed == "reject":
            allowed = self.state == "submitted" and current
            if self.tried(allowed, approval.reject, seen, user, "no", self.now):
                self.state = "rejected"
        elif deed == "stop":
            if self.tried(self.state in RUNNING, approval.stop, user, "no", self.now):
                self.state = "cancelled"
        elif self.tried(
            self.state in RESET and current, approval.edit, seen, user, CHANGE, self.now
        ):
            self.state, self.approved, self.version = "draft", [], self.version + 1
            self.wrote.add(user)

    @rule(deed=st.sampled_from(("expire", "remind", "schedule")))
    def clock_ticks(self, deed: str) -> None:
        if deed == "expire":
            late = self.state in ("submitted", "approved", "scheduled") and self.now >= self.expires
            if self.tried(late, approval.expire, self.now):
                self.state = "expired"
        elif deed == "remind":
            in_time = self.remind is not None and self.remind <= self.now < self.expires
            if self.tried(self.state == "submitted" and in_time, approval.remind, self.now):
                self.remind = None
        elif self.tried(
            self.state == "approved" and self.now >= self.clears, approval.schedule, self.now
        ):
            self.state = "scheduled"

    @rule(behind=BEHIND)
    def send(self, behind: int) -> None:
        in_time = self.state in ("approved", "scheduled") and self.clears <= self.now < self.expires
        again = self.state == "sending"
        steps = 0 if again else 2 if self.state == "approved" else 1
        allowed = (in_time or again) and behind == 0
        if self.tried(
            allowed, launch.begin_sending, self.version - behind, "U0LEA", self.now, deeds=steps
        ):
            self.state = "sending"

    @rule(deed=st.sampled_from(("live", "measure", "close")))
    def go_on(self, deed: str) -> None:
        if deed == "live":
            ends = self.now + 28 * 24 * HOUR
            if self.tried(self.state == "sending", _live, self.now, ends):
                self.state, self.ends = "live", ends
        elif deed == "measure":
            again = self.state == "measuring"
            over = self.ends is not None and self.now >= self.ends
            allowed = again or (self.state == "live" and over) or self.cut_short(over)
            kept = again or self.state == "cancelled"
            if (
                self.tried(
                    allowed, closing.begin_measurement, "U0LEA", self.now, deeds=0 if kept else 1
                )
                and not kept
            ):
                self.state = "measuring"
        elif self.tried(
            self.state == "measuring"
            or self.cut_short(self.ends is not None and self.now >= self.ends),
            closing.close_campaign,
            {},
            "U0LEA",
            self.now,
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
            found: Campaign = find_campaign(session, self.settings, self.id)
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


def _live(session: Any, settings: Settings, campaign_id: str, at: datetime, ends: datetime) -> None:
    move_campaign(
        session,
        settings,
        campaign_id,
        from_states=("sending",),
        to_state="live",
        actor="x",
        action="x",
        at=at,
        window_ends_at=ends,
    )


def walk(database: Database, settings: Settings, *, examples: int) -> None:
    """Try ``examples`` random lives on this database."""
    Life.database, Life.settings = database, settings
    run_state_machine_as_test(
        Life,
        settings=hypothesis_settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
