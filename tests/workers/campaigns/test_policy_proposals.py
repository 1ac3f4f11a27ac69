"""Test the way from two offers to a result, a proposal, an approval and a rollback."""

from collections import Counter
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import delete, select, update

from retention import clock
from retention.campaigns.learning import offer_rule
from retention.campaigns.learning.replay import replay
from retention.campaigns.learning.results import learn_from_result
from retention.campaigns.lifecycle.copy_test import CopyTest, changed_test
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.measurement.outcomes import collect_outcomes
from retention.campaigns.message.parts import PartChanges
from retention.db.tables import Assignment, Audit, Send
from retention.errors import BadInput, Conflict, NotAllowed, TooLittleData
from retention.risk.policy import load_policy
from retention.risk.policy_edits import change_policy, roll_back
from tests.workers.campaigns.desk import ANALYST, LEAD
from workers.campaigns import decisions
from workers.campaigns.policy_proposals import decide, listed

ADMIN, PLACE = "U0ADMIN", "rules.All.discount"


@pytest.fixture
def sending(desk, monkeypatch):
    """A desk with a mail server, which nothing is sent to; few buyers are enough."""
    monkeypatch.setattr(offer_rule, "MIN_BUYERS", 3)
    secrets = {"webhook_url": "https://mail.example/hook", "webhook_key": "k" * 32}
    shown = {name: SecretStr(value) for name, value in secrets.items()}
    return desk.with_settings(public_url="https://shop.example", **shown)


def with_b(**options):
    return changed_test(
        CopyTest(variants=()), variant="B", message=PartChanges(), discount=0.2, **options
    )


def live(desk, test):
    """The id of a live campaign with a test."""
    campaign_id = desk.drafted()
    desk.decide(decisions.edit, ANALYST, Changes(test=test), campaign_id=campaign_id)
    desk.decide(decisions.submit, ANALYST, campaign_id=campaign_id)
    desk.decide(decisions.approve, LEAD, campaign_id=campaign_id)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    desk.done(desk.sending(campaign_id).model_copy(update={"version": 2}))
    desk.execute(update(Send).values(state="sent"))
    return campaign_id


def result_of(desk, campaign_id, shares):
    """The result, once a share of each group has bought."""
    columns = select(Assignment.customer_id, Assignment.arm, Assignment.variant)
    rows = desk.rows(columns.where(Assignment.campaign_id == campaign_id))
    groups = {name: [] for name in shares}
    for customer, arm, variant in sorted(rows):
        groups.get(variant or arm, []).append(customer)
    buyers = [
        customer
        for name, customers in groups.items()
        for customer in customers[: round(shares[name] * len(customers))]
    ]
    desk.bring("purchase", clock.now() + timedelta(days=1), buyers)
    desk.go_on(days=29)
    job = desk.measure(campaign_id)
    assert job.error is None
    return job.result["offers"]


def discount(desk):
    """The discount in force."""
    return load_policy(desk.settings).rule("All").discount


B_WINS = {"A": 0.3, "B": 0.95, "control": 0.3}
ALIKE = dict.fromkeys(B_WINS, 0.5)


def proposed(desk):
    """The only proposal, of a test that B won."""
    result_of(desk, live(desk, with_b()), B_WINS)
    (proposal,) = desk.read(listed)
    return proposal


def test_result_leads_to_a_proposal_that_a_second_person_approves(sending):
    desk = sending
    proposal = proposed(desk)
    assert proposal["changes"] == [{"place": PLACE, "before": 0.1, "after": 0.2}]
    arms = {one["name"]: one["dr"] for one in proposal["evidence"]["arms"]}
    assert arms["B"]["low"] > arms["A"]["value"]
    assert "10% → *20%*" in desk.messages(f"proposal:{proposal['id']}")
    with pytest.raises(NotAllowed):
        desk.change(decide, proposal["id"], ANALYST)
    assert discount(desk) == 0.1
    desk.change(decide, proposal["id"], LEAD)
    assert discount(desk) == 0.2
    assert "policy rollback 0" in desk.messages(f"proposal:{proposal['id']}")
    with pytest.raises(Conflict):
        desk.change(decide, proposal["id"], LEAD)
    desk.change(roll_back, 0, LEAD)
    assert discount(desk) == 0.1
    deeds = desk.scalars(select(Audit.action).where(Audit.action.startswith("policy")))
    assert deeds == ["policy.propose", "policy.change", "policy.approve", "policy.change"]


@pytest.mark.nightly
@pytest.mark.parametrize("state", ["failed", "bounced"])
def test_test_that_reached_nobody_proposes_nothing(sending, state):
    desk = sending
    campaign_id = live(desk, with_b())
    desk.execute(update(Send).values(state=state))
    assert result_of(desk, campaign_id, B_WINS) is None
    assert desk.read(listed) == []


@pytest.mark.nightly
def test_result_with_a_sample_ratio_mismatch_proposes_nothing(sending, monkeypatch):
    desk = sending
    monkeypatch.setattr(offer_rule, "MIN_BUYERS", 1)
    campaign_id = live(desk, with_b())
    removed = desk.arms()["control"][1:]
    desk.execute(delete(Assignment).where(Assignment.customer_id.in_(removed)))
    assert result_of(desk, campaign_id, {**B_WINS, "control": 1.0}) is None
    assert desk.campaign(campaign_id).result["advice"] == "unbelievable"
    assert desk.read(listed) == []


@pytest.mark.nightly
def test_result_without_a_difference_proposes_nothing(sending):
    desk = sending
    offers = result_of(desk, live(desk, with_b()), ALIKE)
    assert (offers["enough"], offers["changes"], desk.read(listed)) == (True, {}, [])
    assert "No change is proposed" in desk.thread("offers", 2)


@pytest.mark.nightly
def test_result_with_too_few_buyers_says_so(sending, monkeypatch):
    desk = sending
    monkeypatch.setattr(offer_rule, "MIN_BUYERS", 50)
    assert result_of(desk, live(desk, with_b()), B_WINS) == {"enough": False}
    assert "too few customers bought" in desk.thread("offers", 2)


@pytest.mark.nightly
def test_proposal_for_a_policy_that_changed_since_is_refused(sending):
    desk = sending
    number = proposed(desk)["id"]
    desk.change(change_policy, {PLACE: 0.15}, ADMIN)
    with pytest.raises(Conflict, match="out of date"):
        desk.change(decide, number, LEAD)
    assert discount(desk) == 0.15
    with pytest.raises(BadInput):
        desk.change(decide, number, LEAD, " ")
    desk.change(decide, number, LEAD, "We sell it out")
    (proposal,) = desk.read(listed)
    assert (proposal["state"], proposal["reason"]) == ("rejected", "We sell it out")
    assert "We sell it out" in desk.messages(f"proposal:{number}")


@pytest.mark.nightly
def test_later_orders_change_no_proposal(sending):
    desk = sending
    campaign_id = live(desk, with_b())
    ends_at = desk.campaign(campaign_id).window_ends_at
    first = result_of(desk, campaign_id, B_WINS)
    everyone = desk.scalars(select(Assignment.customer_id))
    desk.bring("purchase", ends_at + timedelta(hours=2), everyone)
    with desk.database.reading() as session:
        campaign = desk.campaign(campaign_id)
        outcomes = collect_outcomes(desk.lake, session, campaign)
        policy = load_policy(desk.settings)
        again = learn_from_result(desk.lake, session, campaign, outcomes, policy, ())
    assert rounded(again) == rounded(first)


@pytest.mark.nightly
def test_next_test_draws_the_better_offer_more_often(sending):
    desk = sending
    first = live(desk, with_b(explore=0.4))
    assert desk.body(first).test.chances == {}
    assert "no earlier test" in desk.card(first)
    result_of(desk, first, B_WINS)
    desk.wait(days=30)
    campaign_id = live(desk, with_b(explore=0.4))
    test = desk.body(campaign_id).test
    assert test.chances == {"All": (0.2, 0.8)}
    assert "A 20%, B 80%" in desk.card(campaign_id)
    drawn = desk.rows(
        select(Assignment.variant, Assignment.variant_propensity).where(
            Assignment.campaign_id == campaign_id, Assignment.arm == "treatment"
        )
    )
    assert set(drawn) == {("A", 0.2), ("B", 0.8)}
    sizes = Counter(variant for variant, _ in drawn)
    assert abs(sizes["B"] - 4 * sizes["A"]) <= 4
    offers = result_of(desk, campaign_id, ALIKE)
    assert offers["earlier"] == 1
    assert "not drawn evenly" in desk.thread("result", 2, campaign_id)


@pytest.mark.parametrize(
    "options", [{"explore": 0.05}, {"explore": 0.5, "share": 0.5}], ids=["small", "with a rest"]
)
def test_even_share_that_cannot_be_learned_from_is_refused(options):
    with pytest.raises(BadInput) as refused:
        with_b(**options).check(21)
    assert refused.value.field == "explore"


@pytest.mark.nightly
def test_replay_compares_a_file_with_the_policy_in_force(sending):
    desk = sending
    result_of(desk, live(desk, with_b()), B_WINS)

    def replayed(discount, rest=""):
        rule = f'tiers = ["high", "medium", "low"]\naction = "coupon"\ndiscount = {discount}'
        file = desk.with_policy(f'[[rules]]\nname = "Everyone"\n{rule}\n{rest}')
        policy, in_force = load_policy(file.settings), load_policy(desk.settings)
        return desk.read(lambda session: replay(desk.lake, session, policy, in_force, clock.now()))

    better = replayed(0.2)
    assert better["gain"]["dr"]["low"] > 0
    assert better["changed"] == better["customers"]
    assert (better["tests"], better["unknown"]) == (1, 0)
    same = replayed(0.1)
    assert same["changed"] == 0
    assert same["gain"]["dr"] == {"value": 0, "low": 0, "high": 0}
    with pytest.raises(TooLittleData):
        replayed(0.15)
    first = replayed(0.2)
    desk.bring("purchase", clock.now(), desk.scalars(select(Assignment.customer_id)))
    desk.wait(days=1)
    # The engine adds the profits of a customer in any order, so the last digits differ.
    assert rounded(replayed(0.2)) == rounded(first)


def rounded(data):
    """Round the floats of nested dicts and lists to nine digits."""
    if isinstance(data, dict):
        return {name: rounded(value) for name, value in data.items()}
    if isinstance(data, list):
        return [rounded(value) for value in data]
    return round(data, 9) if isinstance(data, float) else data
